//! `[admin]`: where the doors are, and who may use them.
//!
//! Loopback without a token serves probes and metrics only; beyond loopback a token is demanded
//! here, before anything binds. Host names are listed bare, because a `Host` header is compared
//! without its port.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_config::{At, Check, SecretFile};

use crate::explain::codes;
use crate::http::names;

/// The fewest characters of a token.
pub(crate) const TOKEN_MIN: usize = 16;

/// Who may read `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsAccess {
    /// Everybody who reaches the address.
    #[default]
    Open,
    /// Who brings the token.
    Token,
}

/// The control socket and HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Addresses for HTTP; none at all closes it. One that is not loopback needs `token_file`.
    #[schemars(length(max = 16))]
    pub listen: Vec<SocketAddr>,
    /// The file of the bearer token. Without it HTTP serves probes and metrics only.
    pub token_file: Option<SecretFile>,
    /// Who may read `/metrics`: everybody, or who brings the token.
    pub metrics: MetricsAccess,
    /// Further names by which this host is called in URLs, beside its addresses and localhost.
    #[schemars(length(max = 64))]
    pub hosts: Vec<String>,
    /// The path of the control socket; `$RUNTIME_DIRECTORY/control.sock` when not set, else
    /// `$XDG_RUNTIME_DIR/trunkline/control.sock`.
    pub socket: Option<PathBuf>,
    /// The group, by name or number, that may use the control socket too.
    pub socket_group: Option<String>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 9464))],
            token_file: None,
            metrics: MetricsAccess::Open,
            hosts: Vec::new(),
            socket: None,
            socket_group: None,
        }
    }
}

impl Check for AdminConfig {
    fn check(&self, at: &mut At<'_>) {
        for (index, address) in self.listen.iter().enumerate() {
            let mut list = at.key("listen");
            let mut here = list.key(&index.to_string());
            // Port 0 asks for any free port, so two of them never meet.
            if address.port() != 0 && self.listen[..index].contains(address) {
                here.error(codes::LISTEN_TWICE, format!("{address} is listed twice"))
                    .help("take one of the two out");
            }
            if !address.ip().to_canonical().is_loopback() && self.token_file.is_none() {
                let message = format!("{address} is not loopback, and there is no token");
                here.error(codes::OPEN_BIND, message)
                    .help("set admin.token_file, or listen on 127.0.0.1");
            }
        }
        for (index, host) in self.hosts.iter().enumerate() {
            if !names::is_host_name(host) {
                let message = format!("{host:?} is not a bare host name");
                at.key("hosts")
                    .key(&index.to_string())
                    .error(codes::BAD_HOST, message)
                    .help("write the name alone, without scheme, port or path");
            }
        }
        if self.metrics == MetricsAccess::Token && self.token_file.is_none() {
            let message = "`metrics = \"token\"` without a token closes them to everybody";
            at.key("metrics")
                .error(codes::CLOSED_METRICS, message)
                .help("set admin.token_file");
        }
        if let Some(token) = at.secret("token", None, self.token_file.as_ref())
            && let Err(what) = fit_token(token.expose())
        {
            at.key("token_file")
                .error(codes::UNFIT_TOKEN, format!("the token {what}"))
                .help("make one: openssl rand -hex 32");
        }
        if self.socket.as_ref().is_some_and(|path| path.is_relative()) {
            let message = "the path of the control socket is not absolute";
            at.key("socket")
                .error(trunkline_config::codes::BAD_VALUE, message)
                .help("daemon and commands run in different directories");
        }
    }
}

/// Whether a header can carry `token` and nobody guesses it; else half a sentence.
pub(crate) fn fit_token(token: &str) -> Result<(), &'static str> {
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("has spaces or signs that a header cannot carry")
    } else if token.len() < TOKEN_MIN {
        Err("has fewer than 16 characters")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use trunkline_config::{LoadOptions, Problems, Root, audit, load};

    use super::*;

    fn codes_of(text: &str) -> Vec<(String, &'static str)> {
        let config: AdminConfig = toml::from_str(text).unwrap();
        let mut problems = Problems::default();
        config.check(&mut At::root(&mut problems));
        let found = problems.diagnostics().iter();
        found.map(|one| (one.key.clone(), one.code)).collect()
    }

    #[test]
    fn rules_between_keys_are_held() {
        let cases: [(&str, &[(&str, &str)]); 10] = [
            ("", &[]),
            ("listen = []", &[]),
            (
                "listen = ['[::1]:1', '127.1.2.3:1', '[::ffff:127.0.0.1]:2']",
                &[],
            ),
            ("listen = ['127.0.0.1:0', '127.0.0.1:0']", &[]),
            ("listen = ['0.0.0.0:1']", &[("listen.0", codes::OPEN_BIND)]),
            (
                "listen = ['127.0.0.1:1', '127.0.0.1:1']",
                &[("listen.1", codes::LISTEN_TWICE)],
            ),
            (
                "hosts = ['a.example', 'a:1', 'http://b']",
                &[("hosts.1", codes::BAD_HOST), ("hosts.2", codes::BAD_HOST)],
            ),
            ("metrics = 'token'", &[("metrics", codes::CLOSED_METRICS)]),
            ("token_file = '/nowhere/token'", &[("token_file", "T0112")]),
            ("socket = 'control.sock'", &[("socket", "T0106")]),
        ];
        for (text, wanted) in cases {
            let wanted: Vec<_> = wanted.iter().map(|(k, c)| ((*k).to_owned(), *c)).collect();
            assert_eq!(codes_of(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_token_opens_addresses_and_must_be_one() {
        let path = std::env::temp_dir().join(format!("trunkline-admin-tok-{}", std::process::id()));
        let text = format!("listen = ['0.0.0.0:1']\ntoken_file = '{}'", path.display());
        for (token, wanted) in [
            ("0123456789abcdef\n", vec![]),
            ("short", vec![("token_file".to_owned(), codes::UNFIT_TOKEN)]),
            (
                "0123456789 abcdef",
                vec![("token_file".to_owned(), codes::UNFIT_TOKEN)],
            ),
        ] {
            std::fs::write(&path, token).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            assert_eq!(codes_of(&text), wanted, "{token}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Whole {
        /// The doors.
        admin: AdminConfig,
    }

    impl Check for Whole {
        fn check(&self, at: &mut At<'_>) {
            self.admin.check(&mut at.key("admin"));
        }
    }

    impl Root for Whole {}

    #[test]
    fn every_key_is_described_and_found_in_the_file() {
        assert_eq!(audit::<Whole>(), Vec::<String>::new());
        let text = "[admin]\nlisten = ['127.0.0.1:1', '10.0.0.1:1']\nhosts = ['a']\n";
        let problems = load::<Whole>(&LoadOptions::from_text("t.toml", text)).unwrap_err();
        let one = &problems.diagnostics()[0];
        assert_eq!(
            (one.key.as_str(), one.line, one.code),
            ("admin.listen.1", 2, codes::OPEN_BIND)
        );
        let text = "[admin]\nlisten = []\nsocket = '/run/x'\nsocket_group = 'ops'\n";
        let loaded = load::<Whole>(&LoadOptions::from_text("t.toml", text)).unwrap();
        assert!(loaded.value.admin.listen.is_empty());
    }

    #[test]
    fn unknown_keys_and_choices_are_refused() {
        for text in [
            "token = 'x'",
            "metrics = 'closed'",
            "listen = ['localhost:1']",
        ] {
            toml::from_str::<AdminConfig>(text).unwrap_err();
        }
    }
}

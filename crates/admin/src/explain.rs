//! What this crate's error codes mean, for `trunkline explain`. It owns T0301 to T0349.

use trunkline_config::Explanation;

macro_rules! explain {
    ($($name:ident = $code:literal, $title:literal, $cause:literal, $remedy:literal;)*) => {
        /// The codes that this crate reports.
        pub mod codes {
            $(#[doc = $title] pub const $name: &str = $code;)*
        }

        /// The explanations of this crate's codes, in the order of the codes.
        pub const EXPLANATIONS: &[Explanation] = &[$(Explanation {
            code: $code,
            title: $title,
            cause: $cause,
            remedy: $remedy,
        }),*];
    };
}

explain! {
    OPEN_BIND = "T0301", "An address that others can reach needs a token.",
        "A listed address is not loopback, and without `admin.token_file` nobody could tell a \
         colleague from a stranger.",
        "Set admin.token_file, or listen on 127.0.0.1 and let a proxy or an SSH tunnel come there.";
    LISTEN_TWICE = "T0302", "An address is listed twice.",
        "The second bind would fail.",
        "Take one of the two out.";
    BAD_HOST = "T0303", "The entry is no host name.",
        "`admin.hosts` lists names by which this host is called in URLs, without scheme, port or \
         path.",
        "Write the bare name: \"metrics.example.net\".";
    CLOSED_METRICS = "T0304", "Nobody could read the metrics.",
        "`metrics = \"token\"` asks for the token, and there is none.",
        "Set admin.token_file, or metrics = \"open\".";
    UNFIT_TOKEN = "T0305", "The token cannot serve.",
        "A token goes into a header, so it is letters, digits and visible signs of ASCII without \
         spaces; and it is all that protects the process, so it has at least 16 of them.",
        "Make one: openssl rand -hex 32 > FILE && chmod 0600 FILE.";
    STRAY_GROUP = "T0306", "The group cannot be given the control socket.",
        "No group of this name is in /etc/group, or the process may not give files to it.",
        "Check the name; let the user that runs Trunkline be a member; or use the group's number.";
    NO_SOCKET_PLACE = "T0307", "There is no place for the control socket.",
        "`admin.socket` is not set, and neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR names an \
         absolute path.",
        "Set admin.socket, the same for the daemon and for the commands that talk to it.";
    SOCKET_IN_USE = "T0308", "Somebody serves the control socket already.",
        "Another daemon runs with the same socket path, or another program listens there.",
        "Stop the other one, or set another admin.socket.";
    CANNOT_BIND = "T0309", "A door cannot be opened.",
        "The address is in use or not this host's, the port needs a privilege, or the directory \
         of the control socket does not exist or may not be written.",
        "The message names the address or path and what the system said.";
    BAD_REQUEST = "T0310", "That was no request.",
        "The line is not a JSON object of the control protocol, an id is in use, or the HTTP \
         request is malformed.",
        "The message names what is wrong. One request is one line of JSON with an id.";
    TOO_LONG = "T0311", "The request is too long.",
        "Requests end at 1 MiB, HTTP heads at 32 KiB.",
        "Ask for less at once.";
    TOO_MANY = "T0312", "Too much at once.",
        "As many connections, calls of one connection, or scrapes are under way as are allowed.",
        "Close connections that are not needed, and try again when a call has ended.";
    SHUTTING_DOWN = "T0313", "The process is shutting down.",
        "Streams end and new calls are not taken any more.",
        "Connect again when the process is back.";
    ANSWER_TOO_LONG = "T0314", "The answer is too long.",
        "Answers, and items of streams, end at 64 MiB.",
        "Ask for less at once: most operations take filters or page sizes.";
    TOO_SLOW = "T0315", "The request did not arrive in time.",
        "It was begun and not finished within 10 seconds.",
        "Look at the network between, or at what the client waits for.";
    WRONG_HOST = "T0320", "The request is for another host.",
        "Its Host header is neither an address of this process, nor localhost, nor listed. That \
         is how a web page reaches into a private network by a name that it controls.",
        "Use an address, or add the name to admin.hosts.";
    FOREIGN_ORIGIN = "T0321", "The request comes from another site.",
        "A page of another origin tried to change something here.",
        "Call from a program instead of a page, or from a page of the same host.";
    NO_TOKEN = "T0322", "The token is missing or wrong.",
        "All but the probes, and the metrics unless they are closed too, needs the bearer token.",
        "Send `Authorization: Bearer` with the content of admin.token_file.";
    TOKEN_UNSET = "T0323", "HTTP is closed but for the probes.",
        "There is no admin.token_file, so nobody can be let in.",
        "Set admin.token_file, or use the control socket, as the `trunkline` commands do.";
    WRONG_METHOD = "T0324", "The method does not fit.",
        "Reads are GET, everything else is POST.",
        "The Allow header of the answer lists what fits.";
    NO_PAGE = "T0325", "There is nothing at this path.",
        "Operations are at /api/v1/KIND/NAME/OPERATION.",
        "GET / lists what is here.";
    NOT_JSON = "T0326", "The body is not JSON.",
        "Input of an operation is JSON with the content type application/json.",
        "Send `Content-Type: application/json`.";
    LINK_SPENT = "T0327", "The link is spent.",
        "A dashboard link opens once, within a minute; what it opens lasts an hour.",
        "Run `trunkline dashboard` again.";
    SOCKET_ONLY = "T0328", "Only the control socket can do this.",
        "It hands out access, so it is for those whom the file system lets in.",
        "Use the `trunkline` command on the host itself.";
    NO_DAEMON = "T0330", "No daemon answers.",
        "Nothing listens on the control socket, or this user may not use it.",
        "Start it with `trunkline run`; check that both sides mean the same socket and that you \
         are the user that runs it, root, or in admin.socket_group.";
    NO_ANSWER = "T0331", "The daemon did not answer in time.",
        "It is busy, stopped, or what it was asked takes longer than the deadline.",
        "Give it more time, or look at the process.";
    CONNECTION_LOST = "T0332", "The connection to the daemon broke.",
        "It ended while the call was under way, or it closed the connection. Whether the call was \
         carried out is not known.",
        "Look whether the daemon runs; before repeating a change, look whether it was made.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_ordered_and_in_this_crates_range() {
        let all: Vec<&str> = EXPLANATIONS.iter().map(|one| one.code).collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        for one in EXPLANATIONS {
            let number: u32 = one.code.strip_prefix('T').unwrap().parse().unwrap();
            assert!((301..350).contains(&number), "{}", one.code);
            for text in [one.title, one.cause, one.remedy] {
                assert!(
                    !text.is_empty() && !text.contains("  "),
                    "{}: {text}",
                    one.code
                );
            }
        }
    }
}

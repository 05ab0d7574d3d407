//! A network emulator without I/O: datagrams go in, damaged traffic comes out, by a seed.
//!
//! The problem: a client's patience can only be judged against losses that are known exactly. The
//! rule: every datagram's fate is decided once, when it is sent, from dice that belong to its link
//! alone, so traffic on one link never changes what happens on another; and every fate is counted,
//! so `sent + duplicated = delivered + dropped + in flight` always holds.
//!
//! Edge cases: jitter alone never reorders (a link is a queue; only `reorder` lets datagrams
//! overtake); loss is decided before duplication, so a duplicated datagram is never half lost; the
//! emulator is bounded in datagrams and bytes, and what does not fit is dropped and counted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use trunkline_engine::rng::{Rng, mix64};
use trunkline_engine::time::Time;

/// Datagrams in flight at most.
pub const IN_FLIGHT_MAX: usize = 1 << 20;
/// Bytes in flight at most.
pub const IN_FLIGHT_BYTES_MAX: usize = 256 << 20;
/// Links that remember their own state at most; later ones share one state per emulator.
pub const LINKS_MAX: usize = 1 << 20;

/// How one direction of a link treats datagrams. The default is a perfect link: no delay, no harm.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// How long every datagram travels.
    pub latency: Duration,
    /// How much longer some travel: uniform in `0..=jitter`, without overtaking.
    pub jitter: Duration,
    /// Chance that a datagram is lost, 0 to 1; with [`Self::burst`], the chance in its good state.
    pub loss: f64,
    /// Losses that come in bursts.
    pub burst: Option<Burst>,
    /// Chance that a surviving datagram arrives twice, 0 to 1.
    pub duplicate: f64,
    /// Chance that a surviving datagram is held back for [`Self::reorder_delay`], so that later
    /// ones overtake it, 0 to 1.
    pub reorder: f64,
    /// How long a held-back datagram is held.
    pub reorder_delay: Duration,
    /// A bottleneck with a queue in front of it.
    pub rate: Option<Rate>,
    /// The longest payload that passes, in bytes; longer ones are dropped.
    pub mtu_bytes: usize,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: None,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(10),
            rate: None,
            mtu_bytes: 65_507,
        }
    }
}

impl Profile {
    /// A link on which only time passes.
    pub fn delayed(latency: Duration) -> Self {
        Self {
            latency,
            ..Self::default()
        }
    }

    /// A link that swallows everything.
    pub fn black_hole() -> Self {
        Self {
            loss: 1.0,
            ..Self::default()
        }
    }

    /// The share of datagrams that loss takes in the long run, bursts included.
    pub fn expected_loss(&self) -> f64 {
        match &self.burst {
            Some(burst) if burst.enter > 0.0 => {
                let bad = burst.enter / (burst.enter + burst.leave);
                (1.0 - bad) * self.loss + bad * burst.loss
            }
            _ => self.loss,
        }
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// Names the first field that does not, with its value.
    pub fn validate(&self) -> Result<(), ProfileError> {
        let burst = self.burst.as_ref();
        let chances = [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("burst.enter", burst.map_or(0.0, |b| b.enter)),
            ("burst.leave", burst.map_or(0.0, |b| b.leave)),
            ("burst.loss", burst.map_or(0.0, |b| b.loss)),
        ];
        for (field, value) in chances {
            if !(0.0..=1.0).contains(&value) {
                return Err(ProfileError::NotAChance { field, value });
            }
        }
        match &self.rate {
            Some(rate) if rate.bytes_per_second == 0 => Err(ProfileError::NoRate),
            _ => Ok(()),
        }
    }
}

/// Losses in bursts: the two-state model of Gilbert (1960) and Elliott (1963). Before each
/// datagram the link may change its state; in the bad state it loses with another chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Chance per datagram of going from good to bad, 0 to 1.
    pub enter: f64,
    /// Chance per datagram of going from bad to good, 0 to 1; the mean burst is `1 / leave` long.
    pub leave: f64,
    /// Chance of loss while bad, 0 to 1.
    pub loss: f64,
}

/// A bottleneck: datagrams pass one after another at this speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Payload bytes per second, at least 1.
    pub bytes_per_second: u64,
    /// Bytes that may wait in front of the bottleneck; a datagram that finds more is dropped.
    pub queue_bytes: u64,
}

/// Why a profile is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// A probability outside 0 to 1.
    #[error("{field} is {value}, which is not a chance between 0 and 1")]
    NotAChance {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// A bottleneck through which nothing passes.
    #[error("rate.bytes_per_second is 0; use a loss of 1 for a link that carries nothing")]
    NoRate,
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Lost by chance in the good state.
    Loss,
    /// Lost by chance in the bad state of a [`Burst`].
    Burst,
    /// Longer than the link's MTU.
    TooLong,
    /// The queue before the bottleneck was full.
    QueueFull,
    /// The emulator itself holds as much as it may.
    NetworkFull,
}

/// What became of a datagram that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It will arrive this often (1, or 2 when duplicated), for the first time at `first_at`.
    Scheduled {
        /// How often.
        copies: u8,
        /// When the first copy arrives.
        first_at: Time,
    },
    /// It will not arrive.
    Dropped(Cause),
}

/// How many datagrams met which fate since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed to the network.
    pub sent: u64,
    /// Extra copies that the network made.
    pub duplicated: u64,
    /// Held back so that later ones could overtake.
    pub reordered: u64,
    /// Handed out, copies included.
    pub delivered: u64,
    /// Dropped by [`Cause::Loss`].
    pub lost: u64,
    /// Dropped by [`Cause::Burst`].
    pub lost_in_burst: u64,
    /// Dropped by [`Cause::TooLong`].
    pub too_long: u64,
    /// Dropped by [`Cause::QueueFull`].
    pub queue_full: u64,
    /// Dropped by [`Cause::NetworkFull`]; a copy that did not fit counts here too.
    pub network_full: u64,
}

impl Counters {
    /// All drops, whatever the cause.
    pub fn dropped(&self) -> u64 {
        self.lost + self.lost_in_burst + self.too_long + self.queue_full + self.network_full
    }

    fn drop(&mut self, cause: Cause) -> Fate {
        *match cause {
            Cause::Loss => &mut self.lost,
            Cause::Burst => &mut self.lost_in_burst,
            Cause::TooLong => &mut self.too_long,
            Cause::QueueFull => &mut self.queue_full,
            Cause::NetworkFull => &mut self.network_full,
        } += 1;
        Fate::Dropped(cause)
    }
}

/// A datagram that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When it arrived.
    pub at: Time,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The payload.
    pub bytes: Vec<u8>,
    /// The sender's mark from [`Netem::send_tagged`]; both copies of a duplicate carry it.
    pub tag: u64,
}

/// The emulator.
#[derive(Debug)]
pub struct Netem {
    seed: u64,
    fallback: Profile,
    hosts: HashMap<IpAddr, Profile>,
    links: HashMap<(IpAddr, IpAddr), Profile>,
    states: HashMap<(IpAddr, IpAddr), LinkState>,
    shared: LinkState,
    flying: BinaryHeap<Reverse<Flying>>,
    flying_bytes: usize,
    sequence: u64,
    counters: Counters,
}

impl Netem {
    /// A perfect network; all its dice follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            fallback: Profile::default(),
            hosts: HashMap::new(),
            links: HashMap::new(),
            states: HashMap::new(),
            shared: LinkState::seeded(seed),
            flying: BinaryHeap::new(),
            flying_bytes: 0,
            sequence: 0,
            counters: Counters::default(),
        }
    }

    /// Sets how links behave that have no profile of their own. Holds for datagrams sent later.
    ///
    /// # Errors
    /// As [`Profile::validate`].
    pub fn set_default(&mut self, profile: Profile) -> Result<(), ProfileError> {
        profile.validate()?;
        self.fallback = profile;
        Ok(())
    }

    /// Sets how all links to and from `host` behave, in both directions.
    ///
    /// # Errors
    /// As [`Profile::validate`].
    pub fn set_host(&mut self, host: IpAddr, profile: Profile) -> Result<(), ProfileError> {
        profile.validate()?;
        self.hosts.insert(host, profile);
        Ok(())
    }

    /// Sets how the link behaves that leads from one host to another, in this direction alone. It
    /// outranks both hosts' profiles; between those, the receiver's wins.
    ///
    /// # Errors
    /// As [`Profile::validate`].
    pub fn set_link(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        profile: Profile,
    ) -> Result<(), ProfileError> {
        profile.validate()?;
        self.links.insert((from, to), profile);
        Ok(())
    }

    /// Takes back what [`Self::set_host`] and [`Self::set_link`] said about `host`.
    pub fn clear_host(&mut self, host: IpAddr) {
        self.hosts.remove(&host);
        self.links
            .retain(|(from, to), _| *from != host && *to != host);
    }

    /// Sends a datagram.
    pub fn send(&mut self, now: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Fate {
        self.send_tagged(now, from, to, bytes, 0)
    }

    /// Sends a datagram whose deliveries carry `tag`.
    pub fn send_tagged(
        &mut self,
        now: Time,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        tag: u64,
    ) -> Fate {
        self.counters.sent += 1;
        let key = (from.ip(), to.ip());
        let profile = profile_of(&self.links, &self.hosts, &self.fallback, key);
        let state = if self.states.len() < LINKS_MAX || self.states.contains_key(&key) {
            let seed = self.seed;
            self.states
                .entry(key)
                .or_insert_with(|| LinkState::seeded(link_seed(seed, key)))
        } else {
            &mut self.shared
        };
        let plan = match state.decide(profile, now, bytes.len()) {
            Ok(plan) => plan,
            Err(cause) => return self.counters.drop(cause),
        };
        let mut copies = 0;
        for at in std::iter::once(plan.first_at).chain(plan.second_at) {
            if copies > 0 {
                self.counters.duplicated += 1;
            }
            if self.fly(at, from, to, bytes, tag) {
                copies += 1;
            } else {
                self.counters.network_full += 1;
            }
        }
        if copies == 0 {
            return Fate::Dropped(Cause::NetworkFull);
        }
        self.counters.reordered += u64::from(plan.held_back);
        Fate::Scheduled {
            copies,
            first_at: plan.first_at,
        }
    }

    /// Appends all datagrams that have arrived by `now`, in the order of their arrival.
    pub fn deliver(&mut self, now: Time, into: &mut Vec<Delivery>) {
        while let Some(Reverse(next)) = self.flying.peek() {
            if next.0.at > now {
                return;
            }
            if let Some(Reverse(Flying(delivery, _))) = self.flying.pop() {
                self.flying_bytes -= delivery.bytes.len();
                self.counters.delivered += 1;
                into.push(delivery);
            }
        }
    }

    /// When the next datagram arrives.
    pub fn next_wakeup(&self) -> Option<Time> {
        self.flying.peek().map(|Reverse(next)| next.0.at)
    }

    /// How many datagrams are on their way, copies included.
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// What became of all datagrams so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn fly(&mut self, at: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8], tag: u64) -> bool {
        if self.flying.len() >= IN_FLIGHT_MAX
            || self.flying_bytes + bytes.len() > IN_FLIGHT_BYTES_MAX
        {
            return false;
        }
        self.sequence += 1;
        self.flying_bytes += bytes.len();
        let bytes = bytes.to_vec();
        let delivery = Delivery {
            at,
            from,
            to,
            bytes,
            tag,
        };
        self.flying.push(Reverse(Flying(delivery, self.sequence)));
        true
    }
}

fn profile_of<'a>(
    links: &'a HashMap<(IpAddr, IpAddr), Profile>,
    hosts: &'a HashMap<IpAddr, Profile>,
    fallback: &'a Profile,
    key: (IpAddr, IpAddr),
) -> &'a Profile {
    // Most worlds set neither map, and an empty map must not cost a hash.
    let link = (!links.is_empty()).then(|| links.get(&key)).flatten();
    let host = || (!hosts.is_empty()).then(|| hosts.get(&key.1).or_else(|| hosts.get(&key.0)));
    link.or_else(|| host().flatten()).unwrap_or(fallback)
}

/// A datagram in flight and its place among those that arrive at the same time.
#[derive(Debug, PartialEq, Eq)]
struct Flying(Delivery, u64);

impl Ord for Flying {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.at, self.1).cmp(&(other.0.at, other.1))
    }
}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What one direction of a link remembers.
#[derive(Debug)]
struct LinkState {
    rng: Rng,
    bad: bool,
    busy_until: Time,
    last_arrival: Time,
}

struct Plan {
    first_at: Time,
    second_at: Option<Time>,
    held_back: bool,
}

impl LinkState {
    fn seeded(seed: u64) -> Self {
        Self {
            rng: Rng::seeded(seed),
            bad: false,
            busy_until: Time::ZERO,
            last_arrival: Time::ZERO,
        }
    }

    fn decide(&mut self, profile: &Profile, now: Time, len: usize) -> Result<Plan, Cause> {
        if len > profile.mtu_bytes {
            return Err(Cause::TooLong);
        }
        let sent_at = self.pass_bottleneck(profile.rate, now, len)?;
        let (chance, cause) = self.loss_chance(profile);
        if self.rng.chance(chance) {
            return Err(cause);
        }
        let held_back = self.rng.chance(profile.reorder);
        let twice = self.rng.chance(profile.duplicate);
        let first_at = if held_back {
            self.travel(profile, sent_at) + profile.reorder_delay
        } else {
            self.arrive_in_order(profile, sent_at)
        };
        let second_at = twice.then(|| self.arrive_in_order(profile, sent_at).max(first_at));
        Ok(Plan {
            first_at,
            second_at,
            held_back,
        })
    }

    fn loss_chance(&mut self, profile: &Profile) -> (f64, Cause) {
        let Some(burst) = &profile.burst else {
            return (profile.loss, Cause::Loss);
        };
        let flip = if self.bad { burst.leave } else { burst.enter };
        self.bad ^= self.rng.chance(flip);
        if self.bad {
            (burst.loss, Cause::Burst)
        } else {
            (profile.loss, Cause::Loss)
        }
    }

    fn pass_bottleneck(
        &mut self,
        rate: Option<Rate>,
        now: Time,
        len: usize,
    ) -> Result<Time, Cause> {
        let Some(rate) = rate else {
            return Ok(now);
        };
        let nanos_of = |bytes: u64| {
            let nanos =
                u128::from(bytes) * 1_000_000_000 / u128::from(rate.bytes_per_second.max(1));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        if self.busy_until.saturating_since(now) > nanos_of(rate.queue_bytes) {
            return Err(Cause::QueueFull);
        }
        self.busy_until = self.busy_until.max(now) + nanos_of(len as u64);
        Ok(self.busy_until)
    }

    fn arrive_in_order(&mut self, profile: &Profile, sent_at: Time) -> Time {
        let at = self.travel(profile, sent_at).max(self.last_arrival);
        self.last_arrival = at;
        at
    }

    fn travel(&mut self, profile: &Profile, sent_at: Time) -> Time {
        sent_at + profile.latency + self.rng.span(Duration::ZERO, profile.jitter)
    }
}

fn link_seed(seed: u64, (from, to): (IpAddr, IpAddr)) -> u64 {
    mix64(address_seed(seed, from) ^ address_seed(!seed, to))
}

fn address_seed(seed: u64, address: IpAddr) -> u64 {
    let wide = match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let (high, low) = ((wide >> 64) as u64, wide as u64);
    mix64(mix64(seed ^ low) ^ high)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn a() -> SocketAddr {
        "10.0.0.1:1000".parse().unwrap()
    }

    fn b() -> SocketAddr {
        "10.0.0.2:161".parse().unwrap()
    }

    fn with(profile: Profile) -> Netem {
        let mut net = Netem::new(11);
        net.set_default(profile).unwrap();
        net
    }

    /// Sends `n` datagrams 1 ms apart, each holding its own number, and lets all arrive.
    fn stream(net: &mut Netem, n: u32) -> Vec<(Time, u32)> {
        for i in 0..n {
            net.send(Time::from_millis(u64::from(i)), a(), b(), &i.to_be_bytes());
        }
        let mut all = Vec::new();
        net.deliver(Time::MAX, &mut all);
        all.iter()
            .map(|d| (d.at, u32::from_be_bytes(d.bytes[..4].try_into().unwrap())))
            .collect()
    }

    fn assert_balanced(net: &Netem) {
        let c = net.counters();
        let out = c.delivered + c.dropped() + net.in_flight() as u64;
        assert_eq!(c.sent + c.duplicated, out, "{c:?}");
    }

    #[test]
    fn a_perfect_network_delivers_at_once_and_in_order() {
        let mut net = Netem::new(1);
        let seen = stream(&mut net, 100);
        let wanted: Vec<_> = (0..100)
            .map(|i| (Time::from_millis(u64::from(i)), i))
            .collect();
        assert_eq!(seen, wanted);
        assert_eq!(net.next_wakeup(), None);
    }

    #[test]
    fn latency_delays_and_jitter_does_not_reorder() {
        let mut net = with(Profile {
            latency: 20 * MS,
            jitter: 30 * MS,
            ..Profile::default()
        });
        let seen = stream(&mut net, 1000);
        assert!(seen.windows(2).all(|w| w[0].1 < w[1].1 && w[0].0 <= w[1].0));
        let delay = |(at, i): &(Time, u32)| at.saturating_since(Time::from_millis(u64::from(*i)));
        assert!(seen.iter().all(|d| (20 * MS..=50 * MS).contains(&delay(d))));
        assert!(seen.iter().any(|d| delay(d) > 25 * MS));
    }

    #[test]
    fn loss_and_duplication_follow_their_chances_and_the_books_balance() {
        let mut net = with(Profile {
            loss: 0.05,
            duplicate: 0.02,
            ..Profile::default()
        });
        stream(&mut net, 100_000);
        let c = net.counters();
        assert!((4_500..5_500).contains(&c.lost), "{c:?}");
        assert!((1_600..2_200).contains(&c.duplicated), "{c:?}");
        assert_balanced(&net);
    }

    #[test]
    fn bursts_lose_neighbours_and_meet_the_expected_share() {
        let profile = Profile {
            burst: Some(Burst {
                enter: 0.01,
                leave: 0.2,
                loss: 0.9,
            }),
            ..Profile::default()
        };
        let expected = profile.expected_loss();
        let mut net = with(profile);
        let seen = stream(&mut net, 100_000);
        let lost = net.counters().lost_in_burst as f64 / 100_000.0;
        assert!(
            (lost - expected).abs() < 0.1 * expected,
            "{lost} {expected}"
        );
        let gaps = seen.windows(2).filter(|w| w[1].1 - w[0].1 > 1).count() as f64;
        assert!(
            gaps < 0.5 * lost * 100_000.0,
            "losses come alone: {gaps} gaps"
        );
        assert_balanced(&net);
    }

    #[test]
    fn reordering_lets_later_datagrams_overtake() {
        let mut net = with(Profile {
            latency: 5 * MS,
            reorder: 0.1,
            reorder_delay: 10 * MS,
            ..Profile::default()
        });
        let seen = stream(&mut net, 10_000);
        let overtaken = seen.windows(2).filter(|w| w[0].1 > w[1].1).count() as u64;
        let counted = net.counters().reordered;
        assert!((800..1200).contains(&counted), "{counted}");
        assert!(overtaken > counted / 2, "{overtaken} of {counted}");
    }

    #[test]
    fn the_bottleneck_spaces_datagrams_and_drops_what_its_queue_cannot_hold() {
        let mut net = with(Profile {
            rate: Some(Rate {
                bytes_per_second: 1_000_000,
                queue_bytes: 5_000,
            }),
            ..Profile::default()
        });
        for _ in 0..20 {
            net.send(Time::ZERO, a(), b(), &[0; 1000]);
        }
        let mut seen = Vec::new();
        net.deliver(Time::MAX, &mut seen);
        let millis: Vec<u64> = seen.iter().map(|d| d.at.as_millis()).collect();
        assert_eq!(millis, [1, 2, 3, 4, 5, 6]);
        assert_eq!(net.counters().queue_full, 14);
        assert_balanced(&net);
    }

    #[test]
    fn too_long_datagrams_vanish() {
        let mut net = with(Profile {
            mtu_bytes: 10,
            ..Profile::default()
        });
        let fate = net.send(Time::ZERO, a(), b(), &[0; 11]);
        assert_eq!(fate, Fate::Dropped(Cause::TooLong));
        let fate = net.send(Time::ZERO, a(), b(), &[0; 10]);
        assert!(matches!(fate, Fate::Scheduled { copies: 1, .. }));
        assert_balanced(&net);
    }

    #[test]
    fn a_link_outranks_the_receiver_which_outranks_the_sender() {
        let mut net = Netem::new(5);
        let mut second = 0;
        let mut delay = |net: &mut Netem, from, to| {
            second += 1;
            let now = Time::from_millis(second * 1000);
            match net.send(now, from, to, b"x") {
                Fate::Scheduled { first_at, .. } => first_at.saturating_since(now).as_millis(),
                Fate::Dropped(cause) => panic!("{cause:?}"),
            }
        };
        net.set_default(Profile::delayed(MS)).unwrap();
        assert_eq!(delay(&mut net, a(), b()), 1);
        net.set_host(a().ip(), Profile::delayed(2 * MS)).unwrap();
        assert_eq!(delay(&mut net, a(), b()), 2);
        net.set_host(b().ip(), Profile::delayed(3 * MS)).unwrap();
        assert_eq!(delay(&mut net, a(), b()), 3);
        net.set_link(a().ip(), b().ip(), Profile::delayed(4 * MS))
            .unwrap();
        assert_eq!(delay(&mut net, a(), b()), 4);
        assert_eq!(delay(&mut net, b(), a()), 2);
        net.clear_host(b().ip());
        assert_eq!(delay(&mut net, a(), b()), 2);
    }

    #[test]
    fn traffic_on_one_link_does_not_change_the_fate_of_another() {
        let fates = |noise: bool| {
            let mut net = with(Profile {
                loss: 0.3,
                ..Profile::default()
            });
            let other: SocketAddr = "10.0.0.9:161".parse().unwrap();
            (0..200)
                .map(|_| {
                    if noise {
                        net.send(Time::ZERO, a(), other, b"noise");
                    }
                    net.send(Time::ZERO, a(), b(), b"x")
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(fates(false), fates(true));
    }

    #[test]
    fn nonsense_profiles_are_refused_by_field() {
        let loss = Profile {
            loss: 1.5,
            ..Profile::default()
        };
        let message = Netem::new(1).set_default(loss).unwrap_err().to_string();
        assert_eq!(
            message,
            "loss is 1.5, which is not a chance between 0 and 1"
        );
        let rate = Profile {
            rate: Some(Rate {
                bytes_per_second: 0,
                queue_bytes: 1,
            }),
            ..Profile::default()
        };
        assert_eq!(rate.validate(), Err(ProfileError::NoRate));
        let nan = Profile {
            duplicate: f64::NAN,
            ..Profile::default()
        };
        assert!(nan.validate().is_err());
    }
}

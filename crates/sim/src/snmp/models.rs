//! Models of devices that do not exist but could: their tables, types and rates are plausible.
//!
//! The rule: each function gives a [`MibBuilder`], so that a test can add or replace rows before
//! it builds. All identify themselves under 1.3.6.1.4.1.32473, the enterprise number that RFC 5612
//! keeps for examples.
//!
//! Edge cases: every fifth port of a model with interfaces is down and counts nothing; ports
//! differ in their rates; what an operator may write on a real device (names, places, port states)
//! can be written.

use std::time::Duration;

use trunkline_wire_snmp::{Oid, OidBuf, OwnedValue};

use super::mib::{Mib, MibBuilder, MibError};
use super::source::Source;

/// Interfaces of a model at most.
pub const INTERFACES_MAX: u32 = 10_000;

const SYSTEM: Oid<'_> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 1]);
const INTERFACES: Oid<'_> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 2]);
const IF_ENTRY: Oid<'_> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 2, 2, 1]);
const IF_X_ENTRY: Oid<'_> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 31, 1, 1, 1]);
const IP: Oid<'_> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 4]);
const ENTITY_ENTRY: Oid<'_> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 47, 1, 1, 1, 1]);
const SENSOR_ENTRY: Oid<'_> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 99, 1, 1, 1]);
const UPS: Oid<'_> = Oid::from_static(&[0x2b, 6, 1, 2, 1, 33, 1]);
/// 1.3.6.1.4.1.32473.1
const EXAMPLES: Oid<'_> = Oid::from_static(&[0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 1]);
/// 0.0, which stands for no definition.
const NOTHING: Oid<'_> = Oid::from_static(&[0]);

const GIGABIT: u32 = 1_000_000_000;

/// Why there is no such model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An unknown name.
    #[error(
        "there is no model \"{0}\"; there are switch48, switch:interfaces=n, router:interfaces=n, \
         ups, sensor and minimal"
    )]
    UnknownName(String),
    /// A number of interfaces out of range.
    #[error("\"{0}\": interfaces=n takes a number from 1 to {INTERFACES_MAX}")]
    Interfaces(String),
    /// It was not built.
    #[error(transparent)]
    Mib(#[from] MibError),
}

/// Builds the model that `text` names: `switch48`, `switch:interfaces=24`, `router:interfaces=8`
/// (both also without a number: 48 and 8), `ups`, `sensor` or `minimal`.
///
/// # Errors
/// When there is no such model.
pub fn by_name(text: &str) -> Result<Mib, ModelError> {
    let (name, parameter) = match text.split_once(':') {
        Some((name, parameter)) => (name, Some(parameter)),
        None => (text, None),
    };
    let interfaces = |default: u32| {
        let Some(parameter) = parameter else {
            return Ok(default);
        };
        let number = parameter
            .strip_prefix("interfaces=")
            .and_then(|n| n.parse().ok());
        let valid = number.filter(|n| (1..=INTERFACES_MAX).contains(n));
        valid.ok_or_else(|| ModelError::Interfaces(text.to_owned()))
    };
    let builder = match (name, parameter) {
        ("switch", _) => switch(interfaces(48)?),
        ("router", _) => router(interfaces(8)?),
        ("switch48", None) => switch48(),
        ("ups", None) => ups(),
        ("sensor", None) => sensor(),
        ("minimal", None) => minimal(),
        _ => return Err(ModelError::UnknownName(text.to_owned())),
    };
    Ok(builder.build()?)
}

/// The system group alone: 7 rows.
pub fn minimal() -> MibBuilder {
    let mut mib = MibBuilder::new();
    system(
        &mut mib,
        1,
        "minimal",
        "Example device, system group only",
        72,
    );
    mib
}

/// A switch with 48 ports.
pub fn switch48() -> MibBuilder {
    switch(48)
}

/// A switch: the system group and ifTable and ifXTable for so many gigabit ports, 41 rows each.
pub fn switch(interfaces: u32) -> MibBuilder {
    let mut mib = MibBuilder::new();
    system(&mut mib, 2, "switch", "Example switch, gigabit Ethernet", 2);
    add_interfaces(&mut mib, interfaces.min(INTERFACES_MAX), "Gi0/");
    mib
}

/// A router: a switch's tables, addresses, and ten routes per interface.
pub fn router(interfaces: u32) -> MibBuilder {
    let interfaces = interfaces.min(INTERFACES_MAX);
    let mut mib = MibBuilder::new();
    system(&mut mib, 3, "router", "Example router", 4);
    add_interfaces(&mut mib, interfaces, "ge-0/0/");
    mib.fixed(scalar(IP, 1), integer(1));
    mib.fixed(scalar(IP, 2), integer(64));
    for column in 1..=5 {
        mib.object(under(IP, &[20, 1, column]));
    }
    for column in [1, 2, 7, 8, 11] {
        mib.object(under(IP, &[21, 1, column]));
    }
    for interface in 1..=interfaces {
        let [high, low] = network_of(interface);
        add_address(&mut mib, interface, [10, high, low, 1]);
        for route in 0..10 {
            add_route(&mut mib, interface, [172, 16 + route, high, low]);
        }
    }
    mib
}

/// A power supply with a battery: the groups of UPS-MIB (RFC 1628) with three phases.
pub fn ups() -> MibBuilder {
    let mut mib = MibBuilder::new();
    system(
        &mut mib,
        4,
        "ups",
        "Example uninterruptible power supply",
        72,
    );
    for (object, value) in [(1, "Example"), (2, "UPS 3000"), (3, "1.0"), (4, "1.0")] {
        mib.fixed(under(UPS, &[1, object, 0]), text(value));
    }
    mib.writable(under(UPS, &[1, 5, 0]), Source::Fixed(text("rack 1")));
    mib.fixed(under(UPS, &[2, 1, 0]), integer(2));
    mib.fixed(under(UPS, &[2, 2, 0]), integer(0));
    let battery = [
        (3, 20, 60),
        (4, 80, 100),
        (5, 540, 550),
        (6, 0, 5),
        (7, 22, 35),
    ];
    for (object, low, high) in battery {
        mib.row(under(UPS, &[2, object, 0]), wander(low, high));
    }
    mib.row(under(UPS, &[3, 1, 0]), Source::Counter32 { per_second: 0 });
    mib.fixed(under(UPS, &[3, 2, 0]), integer(3));
    mib.fixed(under(UPS, &[4, 1, 0]), integer(3));
    mib.row(under(UPS, &[4, 2, 0]), wander(499, 501));
    mib.fixed(under(UPS, &[4, 3, 0]), integer(3));
    for line in 1..=3 {
        for (column, low, high) in [(2, 498, 502), (3, 225, 235), (4, 10, 90), (5, 200, 900)] {
            mib.row(under(UPS, &[3, 3, 1, column, line]), wander(low, high));
        }
        for (column, low, high) in [(2, 229, 231), (3, 10, 90), (4, 200, 900), (5, 10, 60)] {
            mib.row(under(UPS, &[4, 4, 1, column, line]), wander(low, high));
        }
    }
    mib.fixed(under(UPS, &[6, 1, 0]), OwnedValue::Gauge32(0));
    mib
}

/// A box with four sensors: temperature, humidity, voltage, airflow (RFC 3433).
pub fn sensor() -> MibBuilder {
    let mut mib = MibBuilder::new();
    system(&mut mib, 5, "sensor", "Example environment sensor", 72);
    // Type, scale and precision are the enumerations of ENTITY-SENSOR-MIB.
    let sensors: [(&str, i32, i32, i32, i32, &str); 4] = [
        ("temperature", 8, 1, 180, 320, "degrees Celsius"),
        ("humidity", 9, 0, 20, 70, "percent"),
        ("voltage", 3, 2, 2280, 2320, "volts"),
        ("airflow", 12, 0, 100, 400, "m3/h"),
    ];
    for (index, (name, kind, precision, low, high, units)) in (1..).zip(sensors) {
        mib.fixed(under(ENTITY_ENTRY, &[2, index]), text(name));
        mib.fixed(under(ENTITY_ENTRY, &[5, index]), integer(8));
        let cell = |column| under(SENSOR_ENTRY, &[column, index]);
        mib.fixed(cell(1), integer(kind));
        mib.fixed(cell(2), integer(9));
        mib.fixed(cell(3), integer(precision));
        mib.row(cell(4), wander(low, high));
        mib.fixed(cell(5), integer(1));
        mib.fixed(cell(6), text(units));
        mib.row(cell(7), Source::Uptime);
        mib.fixed(cell(8), OwnedValue::Gauge32(10_000));
    }
    mib
}

fn system(mib: &mut MibBuilder, product: u32, name: &str, description: &str, services: i32) {
    mib.fixed(scalar(SYSTEM, 1), text(description));
    mib.fixed(
        scalar(SYSTEM, 2),
        OwnedValue::ObjectId(EXAMPLES.child(product)),
    );
    mib.row(scalar(SYSTEM, 3), Source::Uptime);
    mib.writable(scalar(SYSTEM, 4), Source::Fixed(text("noc@example.net")));
    let prefix = name.to_owned();
    mib.writable(scalar(SYSTEM, 5), Source::Name { prefix });
    mib.writable(
        scalar(SYSTEM, 6),
        Source::Fixed(text("example site, row 3, rack 12")),
    );
    mib.fixed(scalar(SYSTEM, 7), integer(services));
}

fn add_interfaces(mib: &mut MibBuilder, interfaces: u32, prefix: &str) {
    mib.fixed(scalar(INTERFACES, 1), integer(interfaces.cast_signed()));
    for interface in 1..=interfaces {
        let port = Port::numbered(interface, prefix);
        port.add_to_if_table(mib);
        port.add_to_if_x_table(mib);
    }
}

/// One interface of a model.
struct Port {
    index: u32,
    name: String,
    /// Octets per second; 0 when the port is down.
    octets: u32,
}

impl Port {
    fn numbered(index: u32, prefix: &str) -> Self {
        let busy = 20_000 + (index % 7) * 900_000;
        Self {
            index,
            name: format!("{prefix}{index}"),
            octets: if index.is_multiple_of(5) { 0 } else { busy },
        }
    }

    fn is_up(&self) -> bool {
        self.octets > 0
    }

    fn counter32(&self, octets_each: u32) -> Source {
        Source::Counter32 {
            per_second: self.octets / octets_each,
        }
    }

    fn counter64(&self, octets_each: u32) -> Source {
        Source::Counter64 {
            per_second: u64::from(self.octets / octets_each),
        }
    }

    fn add_to_if_table(&self, mib: &mut MibBuilder) {
        let cell = |column| under(IF_ENTRY, &[column, self.index]);
        let [_, _, high, low] = self.index.to_be_bytes();
        let hardware = [2, 0, 0x5e, 0, high, low];
        let mut fixed = |column, value| {
            mib.fixed(cell(column), value);
        };
        fixed(1, integer(self.index.cast_signed()));
        fixed(2, text(&self.name));
        fixed(3, integer(6));
        fixed(4, integer(1500));
        fixed(5, OwnedValue::Gauge32(GIGABIT));
        fixed(6, OwnedValue::OctetString(hardware.into()));
        fixed(8, integer(if self.is_up() { 1 } else { 2 }));
        fixed(9, OwnedValue::TimeTicks(0));
        fixed(22, OwnedValue::ObjectId(NOTHING.to_owned()));
        mib.writable(cell(7), Source::Fixed(integer(1)));
        // Octets per event: packets of 600 octets, and the rarer kinds rarer still.
        let counters = [
            (10, 1),
            (11, 600),
            (12, 60_000),
            (13, 2_000_000),
            (14, 4_000_000),
            (15, 3_000_000),
            (16, 1),
            (17, 600),
            (18, 60_000),
            (19, 2_000_000),
            (20, 4_000_000),
        ];
        for (column, octets_each) in counters {
            mib.row(cell(column), self.counter32(octets_each));
        }
        let queue = Source::Gauge32 {
            low: 0,
            high: if self.is_up() { 12 } else { 0 },
            every: Duration::from_secs(1),
        };
        mib.row(cell(21), queue);
    }

    fn add_to_if_x_table(&self, mib: &mut MibBuilder) {
        let cell = |column| under(IF_X_ENTRY, &[column, self.index]);
        mib.fixed(cell(1), text(&self.name));
        for (column, octets_each) in [(2, 60_000), (3, 120_000), (4, 60_000), (5, 120_000)] {
            mib.row(cell(column), self.counter32(octets_each));
        }
        let high_capacity = [
            (6, 1),
            (7, 600),
            (8, 60_000),
            (9, 120_000),
            (10, 1),
            (11, 600),
            (12, 60_000),
            (13, 120_000),
        ];
        for (column, octets_each) in high_capacity {
            mib.row(cell(column), self.counter64(octets_each));
        }
        mib.writable(cell(14), Source::Fixed(integer(1)));
        mib.fixed(cell(15), OwnedValue::Gauge32(GIGABIT / 1_000_000));
        mib.fixed(cell(16), integer(2));
        mib.fixed(cell(17), integer(1));
        let alias = format!("port {} to the floor", self.index);
        mib.writable(cell(18), Source::Fixed(text(&alias)));
        mib.fixed(cell(19), OwnedValue::TimeTicks(0));
    }
}

/// A row of ipAddrTable (RFC 1213).
fn add_address(mib: &mut MibBuilder, interface: u32, address: [u32; 4]) {
    let cell = |column| under(&under(IP, &[20, 1, column]), &address);
    mib.fixed(cell(1), ip(address));
    mib.fixed(cell(2), integer(interface.cast_signed()));
    mib.fixed(cell(3), ip([255, 255, 255, 0]));
    mib.fixed(cell(4), integer(1));
    mib.fixed(cell(5), integer(65_535));
}

/// The columns of ipRouteTable (RFC 1213) that routers still fill.
fn add_route(mib: &mut MibBuilder, interface: u32, network: [u32; 4]) {
    let [high, low] = network_of(interface);
    let cell = |column| under(&under(IP, &[21, 1, column]), &network);
    mib.fixed(cell(1), ip(network));
    mib.fixed(cell(2), integer(interface.cast_signed()));
    mib.fixed(cell(7), ip([10, high, low, 254]));
    mib.fixed(cell(8), integer(4));
    mib.fixed(cell(11), ip([255, 255, 255, 255]));
}

fn network_of(interface: u32) -> [u32; 2] {
    [interface >> 8, interface & 0xff]
}

fn wander(low: i32, high: i32) -> Source {
    Source::Integer {
        low,
        high,
        every: Duration::from_secs(10),
    }
}

fn scalar(group: Oid<'_>, object: u32) -> OidBuf {
    under(group, &[object, 0])
}

fn under<'a>(base: impl Into<Oid<'a>>, arcs: &[u32]) -> OidBuf {
    arcs.iter()
        .fold(base.into().to_owned(), |oid, arc| oid.child(*arc))
}

fn integer(value: i32) -> OwnedValue {
    OwnedValue::Integer(value)
}

fn text(value: &str) -> OwnedValue {
    OwnedValue::OctetString(value.as_bytes().into())
}

/// Octets are given as arcs, because they are an index too.
fn ip(octets: [u32; 4]) -> OwnedValue {
    let number = octets
        .iter()
        .fold(0, |number, octet| number << 8 | (octet & 0xff));
    OwnedValue::IpAddress(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(mib: &Mib, oid: &str) -> bool {
        let oid: OidBuf = oid.parse().unwrap();
        mib.find(oid.as_oid()).is_some()
    }

    #[test]
    fn sizes_follow_the_number_of_interfaces() {
        let cases = [
            ("minimal", 7),
            ("switch48", 7 + 1 + 48 * 41),
            ("switch:interfaces=2", 7 + 1 + 2 * 41),
            ("router:interfaces=3", 7 + 1 + 3 * 41 + 2 + 3 * (5 + 50)),
            ("sensor", 7 + 4 * 10),
            ("ups", 7 + 5 + 7 + 2 + 3 + 24 + 1),
        ];
        for (name, rows) in cases {
            assert_eq!(by_name(name).unwrap().len(), rows, "{name}");
        }
        assert_eq!(
            by_name("switch").unwrap().len(),
            by_name("switch48").unwrap().len()
        );
    }

    #[test]
    fn well_known_rows_are_where_they_belong() {
        let switch = by_name("switch48").unwrap();
        for oid in [
            "1.3.6.1.2.1.1.3.0",
            "1.3.6.1.2.1.2.2.1.22.48",
            "1.3.6.1.2.1.31.1.1.1.6.1",
        ] {
            assert!(has(&switch, oid), "{oid}");
        }
        assert!(!has(&switch, "1.3.6.1.2.1.2.2.1.1.49"));
        let router = by_name("router:interfaces=300").unwrap();
        assert!(has(&router, "1.3.6.1.2.1.4.20.1.1.10.1.44.1"));
        assert!(has(&router, "1.3.6.1.2.1.4.21.1.7.172.25.1.44"));
        assert!(has(&by_name("ups").unwrap(), "1.3.6.1.2.1.33.1.4.4.1.5.3"));
        assert!(has(&by_name("sensor").unwrap(), "1.3.6.1.2.1.99.1.1.1.4.4"));
    }

    #[test]
    fn unknown_models_and_sizes_are_refused_with_what_there_is() {
        let error = by_name("swich48").unwrap_err().to_string();
        assert!(
            error.contains("no model \"swich48\"; there are switch48"),
            "{error}"
        );
        for text in [
            "switch:interfaces=0",
            "router:interfaces=10001",
            "switch:ports=4",
        ] {
            assert_eq!(
                by_name(text).unwrap_err(),
                ModelError::Interfaces(text.to_owned())
            );
        }
        assert!(matches!(
            by_name("ups:interfaces=3"),
            Err(ModelError::UnknownName(_))
        ));
    }
}

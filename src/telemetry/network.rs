//! The bytes that the process's network namespace has received and sent, as the
//! official clients of Prometheus expose them; the `prometheus` crate does not.

use prometheus::{
    IntCounter,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use std::fs;

pub(super) struct NetworkBytes {
    received: IntCounter,
    sent: IntCounter,
}

impl NetworkBytes {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let received = "process_network_receive_bytes_total";
        let sent = "process_network_transmit_bytes_total";
        Ok(Self {
            received: IntCounter::new(received, "Bytes received over IP by this host.")?,
            sent: IntCounter::new(sent, "Bytes sent over IP by this host.")?,
        })
    }
}

impl Collector for NetworkBytes {
    fn desc(&self) -> Vec<&Desc> {
        [self.received.desc(), self.sent.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let netstat = fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
        for (name, counter) in [("InOctets", &self.received), ("OutOctets", &self.sent)] {
            let now = ip_extension(&netstat, name).unwrap_or(0);
            counter.inc_by(now.saturating_sub(counter.get()));
        }
        [self.received.collect(), self.sent.collect()].concat()
    }
}

/// A value of the table `IpExt`: a line of names, then a line of numbers.
fn ip_extension(netstat: &str, name: &str) -> Option<u64> {
    let mut rows = netstat.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let place = rows.next()?.split(' ').position(|known| known == name)?;
    rows.next()?.split(' ').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_below_its_name() {
        let netstat = "TcpExt: A InOctets\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\n\
                       IpExt: 0 77 88\n";
        assert_eq!(ip_extension(netstat, "InOctets"), Some(77));
        assert_eq!(ip_extension(netstat, "OutOctets"), Some(88));
        assert_eq!(ip_extension(netstat, "Absent"), None);
        assert_eq!(ip_extension("", "InOctets"), None);
    }
}

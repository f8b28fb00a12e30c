//! What the system lets this process have: memory, and time of the processors.
//!
//! The control groups of the process say so, in both of their versions; so nobody needs an
//! agent beside the service to see how near it is to being killed or held back.

use prometheus::{
    IntCounter, IntGauge, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub(super) struct Confines {
    root: PathBuf,
    memory_limit: IntGauge,
    periods: IntCounter,
    throttled: IntCounter,
}

impl Confines {
    /// Those of this process, in the registry.
    pub(super) fn register(registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(Self::below(PathBuf::from("/"))?))
    }

    /// What the files below a root say.
    fn below(root: PathBuf) -> Result<Self, prometheus::Error> {
        Ok(Self {
            root,
            memory_limit: IntGauge::new(
                "process_memory_limit_bytes",
                "Memory available to this process: the limit of its control groups, or all memory.",
            )?,
            periods: IntCounter::new(
                "process_cpu_periods_total",
                "Scheduling periods in which the processor time of this process's control group was limited.",
            )?,
            throttled: IntCounter::new(
                "process_cpu_throttled_periods_total",
                "Scheduling periods in which this process's control group used up its processor time.",
            )?,
        })
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// The values of a file of a controller, from the group of the process up to the outermost.
    fn values(&self, groups: &str, controller: &str, file_1: &str, file_2: &str) -> Vec<String> {
        let mut found = Vec::new();
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
            let (mount, file) = match controllers {
                "" => (PathBuf::from("sys/fs/cgroup"), file_2),
                _ if controllers.split(',').any(|name| name == controller) => {
                    (Path::new("sys/fs/cgroup").join(controllers), file_1)
                }
                _ => continue,
            };
            // In a container, the group may be called as the host calls it and be mounted as
            // the outermost: then only that is there.
            let ancestors = Path::new(group.trim_start_matches('/')).ancestors();
            found.extend(ancestors.filter_map(|group| self.read(mount.join(group).join(file))));
        }
        found
    }
}

impl Collector for Confines {
    fn desc(&self) -> Vec<&Desc> {
        [self.memory_limit.desc(), self.periods.desc(), self.throttled.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let groups = self.read("proc/self/cgroup").unwrap_or_default();
        let limits = self.values(&groups, "memory", "memory.limit_in_bytes", "memory.max");
        // `max` is no number.
        let limits = limits.iter().filter_map(|text| text.trim().parse::<u64>().ok());
        let machine = self.read("proc/meminfo").and_then(|text| {
            let kilobytes = field(&text, "MemTotal:")?;
            kilobytes.checked_mul(1024)
        });
        let limit = limits.chain(machine).min().unwrap_or(0);
        self.memory_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));

        let stats = self.values(&groups, "cpu", "cpu.stat", "cpu.stat");
        // The group that is nearest; where time is not limited at all, there are no periods.
        let nearest = stats.iter().find(|text| field(text, "nr_periods").is_some());
        for (name, counter) in [("nr_periods", &self.periods), ("nr_throttled", &self.throttled)] {
            let now = nearest.and_then(|text| field(text, name)).unwrap_or(0);
            counter.inc_by(now.saturating_sub(counter.get()));
        }
        [self.memory_limit.collect(), self.periods.collect(), self.throttled.collect()].concat()
    }
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines.find_map(|mut words| (words.next()? == name).then(|| words.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit of memory, the periods and those that were too short, by these files.
    fn check(files: &[(&str, &str)], expected: [u64; 3]) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let confines = Confines::below(root.path().to_owned()).unwrap();
        confines.collect();
        let found =
            [confines.memory_limit.get() as u64, confines.periods.get(), confines.throttled.get()];
        assert_eq!(found, expected, "{files:?}");
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemFree: 1 kB\nMemTotal:       1000 kB\n");

    #[test]
    fn without_limits_it_is_the_machine() {
        check(&[MACHINE, ("proc/self/cgroup", "0::/\n")], [1_024_000, 0, 0]);
        check(&[MACHINE], [1_024_000, 0, 0]);
        check(&[], [0, 0, 0]);
    }

    #[test]
    fn the_narrowest_group_counts() {
        let groups = ("proc/self/cgroup", "0::/pod/container\n");
        let own = ("sys/fs/cgroup/pod/container/memory.max", "max\n");
        let pod = ("sys/fs/cgroup/pod/memory.max", "65536\n");
        let stat = (
            "sys/fs/cgroup/pod/container/cpu.stat",
            "usage_usec 5\nnr_periods 7\nnr_throttled 3\n",
        );
        let outer = ("sys/fs/cgroup/pod/cpu.stat", "nr_periods 9\nnr_throttled 9\n");
        check(&[MACHINE, groups, own, pod, stat, outer], [65_536, 7, 3]);
    }

    /// The host's name for the group, while only the group itself is mounted.
    #[test]
    fn a_group_that_is_mounted_as_the_outermost_is_found() {
        let groups = ("proc/self/cgroup", "0::/kubepods/pod1/abc\n");
        let own = ("sys/fs/cgroup/memory.max", "32768\n");
        let stat = ("sys/fs/cgroup/cpu.stat", "nr_periods 2\nnr_throttled 1\n");
        check(&[MACHINE, groups, own, stat], [32_768, 2, 1]);
    }

    #[test]
    fn groups_of_the_first_version_are_read_too() {
        let groups = ("proc/self/cgroup", "4:memory:/a/b\n2:cpu,cpuacct:/a\n0::/\n");
        let unlimited = ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
        let limit = ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n");
        let stat = ("sys/fs/cgroup/cpu,cpuacct/a/cpu.stat", "nr_periods 5\nnr_throttled 4\n");
        check(&[MACHINE, groups, unlimited, limit, stat], [4096, 5, 4]);
    }
}

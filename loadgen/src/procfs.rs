//! What do processes cost? CPU time by thread and resident memory, from `/proc`, of any process we may look at.

use std::collections::BTreeMap;
use std::fs;

/// CPU time of a process at an instant.
#[derive(Debug, Clone, Default)]
pub struct Cpu {
    /// By thread id: name, and time on a CPU in ns.
    threads: BTreeMap<u32, (String, u64)>,
}

/// CPU time of a process between two instants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Used {
    /// All threads, ns.
    pub total_ns: u64,
    /// By thread name, largest first, ns. Threads of one name are told apart by their order.
    pub threads: Vec<(String, u64)>,
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Most that ever was.
    pub peak: u64,
}

/// Looks at a process; `None` when there is none with this id.
#[must_use]
pub fn cpu(pid: u32) -> Option<Cpu> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let path = entry.path();
        let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A thread may end between the two readings: then it is left out.
        let Ok(schedstat) = fs::read_to_string(path.join("schedstat")) else { continue };
        let Some(ns) = schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok()) else { continue };
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        threads.insert(tid, (name.trim().to_owned(), ns));
    }
    Some(Cpu { threads })
}

impl Cpu {
    /// What was used since `before`. A thread that ended meanwhile is not seen.
    #[must_use]
    pub fn since(&self, before: &Self) -> Used {
        let used = self.threads.iter().map(|(tid, (name, ns))| {
            let then = before.threads.get(tid).map_or(0, |(_, ns)| *ns);
            (name.clone(), ns.saturating_sub(then))
        });
        let mut threads: Vec<_> = used.collect();
        threads.sort_by_key(|thread| std::cmp::Reverse(thread.1));
        Used { total_ns: threads.iter().map(|(_, ns)| ns).sum(), threads }
    }
}

/// Memory of a process; `None` when there is none with this id.
#[must_use]
pub fn memory(pid: u32) -> Option<Memory> {
    memory_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn memory_of(status: &str) -> Option<Memory> {
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some(Memory { resident: line("VmRSS:")?, peak: line("VmHWM:")? })
}

/// Idle and total time of all CPUs since boot, in ticks.
#[must_use]
pub fn machine() -> Option<(u64, u64)> {
    machine_of(&fs::read_to_string("/proc/stat").ok()?)
}

fn machine_of(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|ticks| ticks.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are part of user.
    let total = ticks.iter().take(8).sum();
    Some((ticks.get(3)? + ticks.get(4)?, total))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn our_own_work_is_seen_by_thread() {
        let pid = std::process::id();
        let before = cpu(pid).unwrap();
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(number * number));
        }
        let used = cpu(pid).unwrap().since(&before);
        assert!(used.total_ns > 1_000_000, "{used:?} {sum}");
        assert!(used.threads.is_sorted_by(|a, b| a.1 >= b.1));
    }

    #[test]
    fn memory_is_read_in_bytes_and_a_missing_process_is_none() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident > 1 << 20 && memory.peak >= memory.resident);
        assert_eq!(super::memory(u32::MAX), None);
        assert!(cpu(u32::MAX).is_none());
    }

    #[test]
    fn the_machines_idle_time_is_part_of_its_total() {
        assert_eq!(machine_of("cpu  10 0 5 100 5 1 2 0 0 0\ncpu0 1 1\n"), Some((105, 123)));
        let (idle, total) = machine().unwrap();
        assert!(idle <= total);
    }
}

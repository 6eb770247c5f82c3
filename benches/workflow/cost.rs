//! What processes have cost so far: their processor time, from the kernel's own accounts.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Of this process.
pub(crate) fn own() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Of a process with all of its threads; nothing once it is gone.
pub(crate) fn of_process(pid: u32) -> Duration {
    ticks(pid, &[13, 14])
}

/// Of a process with one thread and its children, who have one, too: PostgreSQL.
pub(crate) fn of_family(pid: u32) -> Duration {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let living: Duration = children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .map(exact)
        .sum();
    // the dead are counted by whoever waited for them
    exact(pid) + ticks(pid, &[15, 16]) + living
}

/// To the nanosecond, for a process with one thread.
fn exact(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// The sum of fields of `/proc/PID/stat`, counted from the one after the name of the program as 2, in hundredths of a second.
fn ticks(pid: u32, fields: &[usize]) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let values: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields
        .iter()
        .filter_map(|field| values.get(field - 2)?.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

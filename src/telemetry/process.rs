//! What this process uses of the machine, under the names that Prometheus gives every process.

use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};
use rustix::time::{ClockId, clock_gettime};

/// Measured whenever it is asked for, and never in between.
pub(super) struct Process {
    // two askers at once would both add what passed since the last
    asking: Mutex<()>,
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    peak_bytes: Gauge,
}

impl Process {
    /// # Errors
    /// What prometheus says of a name that is wrong.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            asking: Mutex::new(()),
            cpu_seconds: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds",
            )?,
            resident_bytes: Gauge::new("process_resident_memory_bytes", "Resident memory size in bytes")?,
            peak_bytes: Gauge::new(
                "osteon_resident_memory_peak_bytes",
                "The largest that the resident memory was since the start, in bytes",
            )?,
        })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let mut described = self.cpu_seconds.desc();
        described.extend(self.resident_bytes.desc());
        described.extend(self.peak_bytes.desc());
        described
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = {
            let _alone = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            let used = clock_gettime(ClockId::ProcessCPUTime);
            let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
            self.cpu_seconds
                .inc_by((seconds - self.cpu_seconds.get()).max(0.0));
            self.cpu_seconds.collect()
        };
        // a system without it says nothing rather than zero
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (gauge, name) in [(&self.resident_bytes, "VmRSS:"), (&self.peak_bytes, "VmHWM:")] {
            if let Some(bytes) = bytes(&status, name) {
                gauge.set(bytes);
                families.extend(gauge.collect());
            }
        }
        families
    }
}

/// A size in `/proc/self/status`, as Linux writes it.
fn bytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kibibytes * 1024) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_and_memory_is_there() {
        let process = Process::new().unwrap();
        let seconds = || {
            process.collect();
            process.cpu_seconds.get()
        };
        let before = seconds();
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 20 {
            std::hint::spin_loop();
        }
        assert!(seconds() > before);
        if cfg!(target_os = "linux") {
            let (resident, peak) = (process.resident_bytes.get(), process.peak_bytes.get());
            assert!(resident > 1e6 && peak >= resident, "{resident} {peak}");
        }
    }
}

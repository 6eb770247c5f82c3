//! How much memory is in use, as both checks of GPUs ask it.

use std::process::Command;

use anyhow::Context;
use osteon::runtime::Device;

/// Memory in use on the GPU, by whomever; 0 for a CPU.
pub(crate) fn gpu_mebibytes(device: Device) -> anyhow::Result<u64> {
    let Device::Cuda(index) = device else { return Ok(0) };
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=memory.used", "--format=csv,noheader,nounits"])
        .arg(format!("--id={index}"))
        .output()
        .context("nvidia-smi cannot be run")?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Memory of this process.
pub(crate) fn resident_mebibytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes: u64 = line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024)
}

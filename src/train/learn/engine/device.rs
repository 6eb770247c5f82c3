//! Where a training runs: the CPU, or an NVIDIA GPU that one and the same program finds when it starts.
//!
//! The program is linked to libtorch's part for CPUs alone. The part for GPUs, `libtorch_cuda.so`, is opened when a GPU is asked for,
//! and before anything else is asked of libtorch about GPUs: it answers from then on as it did the first time.

use std::fmt;
use std::str::FromStr;

use tch::Cuda;

use super::gpu_library;
use crate::runtime::Device;

/// What `--device` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The first GPU where there is one that can be used, else the CPU.
    #[default]
    Auto,
    /// This one, or an error.
    On(Device),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            other => other
                .parse()
                .map(Self::On)
                .map_err(|_| "the devices are auto, cpu, cuda (the first GPU), cuda:1 and so on".to_owned()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::On(device) => device.fmt(formatter),
        }
    }
}

/// A device, and in words why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Where to train.
    pub device: Device,
    /// Such as `there is no NVIDIA driver here`; nothing where it was named.
    pub why: Option<String>,
}

/// Why a GPU cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGpu {
    /// Nothing here drives one.
    #[error("there is no NVIDIA driver here ({0})")]
    Driver(String),
    /// libtorch's part for GPUs is missing, or something that it needs.
    #[error(
        "libtorch's part for NVIDIA GPUs cannot be opened ({0}). scripts/fetch-libtorch leaves it out, because it takes gigabytes: `pip install torch==2.11.0` brings it, and LD_LIBRARY_PATH=<site-packages>/torch/lib before the command lets it be found"
    )]
    Library(String),
    /// libtorch sees none.
    #[error(
        "libtorch sees no NVIDIA GPU: `nvidia-smi` must list one, and CUDA_VISIBLE_DEVICES must not hide it"
    )]
    None,
    /// Fewer than the number that was asked for.
    #[error("the GPUs here are cuda:0 to cuda:{0}")]
    Fewer(u16),
}

/// A named device that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device} cannot be used: {cause}")]
pub struct DeviceError {
    /// As it was named.
    pub device: Device,
    /// Why not.
    pub cause: NoGpu,
}

/// Where to train. The CPU, by that name, needs nothing; otherwise libtorch's part for GPUs is opened.
///
/// # Errors
/// [`DeviceError`] where a GPU is named that cannot be had; `auto` takes the CPU then, and says why.
pub fn choose(wanted: Wanted) -> Result<Chosen, DeviceError> {
    chosen(wanted, gpus)
}

fn chosen(wanted: Wanted, gpus: impl FnOnce() -> Result<u16, NoGpu>) -> Result<Chosen, DeviceError> {
    let named = |device| Chosen { device, why: None };
    match wanted {
        Wanted::On(Device::Cpu) => Ok(named(Device::Cpu)),
        Wanted::On(device @ Device::Cuda(index)) => match gpus() {
            Ok(count) if index < count => Ok(named(device)),
            Ok(count) => Err(NoGpu::Fewer(count - 1)),
            Err(cause) => Err(cause),
        }
        .map_err(|cause| DeviceError { device, cause }),
        Wanted::Auto => Ok(match gpus() {
            Ok(count) => Chosen {
                device: Device::Cuda(0),
                why: (count > 1).then(|| format!("the first of {count} GPUs")),
            },
            Err(cause) => Chosen {
                device: Device::Cpu,
                why: Some(cause.to_string()),
            },
        }),
    }
}

/// How many there are, at least 1.
fn gpus() -> Result<u16, NoGpu> {
    gpu_library::open("libcuda.so.1").map_err(NoGpu::Driver)?;
    gpu_library::open("libtorch_cuda.so").map_err(NoGpu::Library)?;
    match Cuda::device_count() {
        count @ 1.. => Ok(u16::try_from(count).unwrap_or(u16::MAX)),
        _ => Err(NoGpu::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library() -> NoGpu {
        NoGpu::Library("libtorch_cuda.so: cannot open shared object file".to_owned())
    }

    #[test]
    fn auto_takes_a_gpu_or_says_why_not() {
        let auto = |gpus| chosen(Wanted::Auto, || gpus).unwrap();
        assert_eq!(
            auto(Ok(1)),
            Chosen {
                device: Device::Cuda(0),
                why: None
            }
        );
        assert_eq!(auto(Ok(2)).why.unwrap(), "the first of 2 GPUs");
        let without = auto(Err(library()));
        assert_eq!(without.device, Device::Cpu);
        assert!(without.why.unwrap().contains("pip install torch==2.11.0"));
    }

    #[test]
    fn a_named_gpu_is_taken_or_refused_and_the_cpu_opens_nothing() {
        let named = |text: &str, gpus| chosen(text.parse().unwrap(), || gpus);
        assert_eq!(named("cuda:1", Ok(2)).unwrap().device, Device::Cuda(1));
        assert_eq!(
            named("cuda:2", Ok(2)).unwrap_err().to_string(),
            "cuda:2 cannot be used: the GPUs here are cuda:0 to cuda:1"
        );
        assert_eq!(named("cuda", Err(NoGpu::None)).unwrap_err().cause, NoGpu::None);
        let cpu = chosen(Wanted::On(Device::Cpu), || {
            unreachable!("the CPU needs no library")
        });
        assert_eq!(cpu.unwrap().why, None);
        assert!("gpu".parse::<Wanted>().unwrap_err().contains("cuda:1"));
    }

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let cause = gpu_library::open("libosteon_is_not_there.so.7").unwrap_err();
        assert!(cause.contains("libosteon_is_not_there.so.7"), "{cause}");
    }
}

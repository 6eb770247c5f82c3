//! Where a training runs: the CPU, or NVIDIA GPUs that one and the same program finds when it starts.
//!
//! The program is linked to libtorch's part for CPUs alone. The part for GPUs, `libtorch_cuda.so`, is opened when a GPU is asked for,
//! and before anything else is asked of libtorch about GPUs: it answers from then on as it did the first time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tch::Cuda;

use super::gpu_library;
use crate::runtime::Device;

/// Where a training runs: one device, or several of a kind that share every batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Devices {
    /// The one whose numbers are kept, and which answers.
    pub first: Device,
    /// Beside it. A device that stands twice has two replicas of the network.
    others: Vec<Device>,
}

impl Devices {
    /// Those beside the first.
    #[must_use]
    pub fn others(&self) -> &[Device] {
        &self.others
    }

    /// How many, at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Device> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

impl From<Device> for Devices {
    fn from(first: Device) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let device = |text: &str| {
            text.parse::<Device>()
                .map_err(|_| "the devices are auto, cpu, cuda (the first GPU), cuda:1 and so on, cuda:0,cuda:1 and cuda:all".to_owned())
        };
        let (first, others) = text
            .split_once(',')
            .map_or((text, None), |(first, others)| (first, Some(others)));
        let first = device(first)?;
        let others = others.iter().flat_map(|others| others.split(',')).map(device);
        let others: Vec<Device> = others.collect::<Result<_, _>>()?;
        if others.iter().any(|other| other.provider() != first.provider()) {
            return Err(
                "a CPU and a GPU do not share batches, as the GPU would wait: name GPUs only".to_owned(),
            );
        }
        Ok(Self { first, others })
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(formatter)?;
        self.others
            .iter()
            .try_for_each(|device| write!(formatter, ",{device}"))
    }
}

impl TryFrom<String> for Devices {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Devices> for String {
    fn from(devices: Devices) -> Self {
        devices.to_string()
    }
}

/// What `--device` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The first GPU where there is one that can be used, else the CPU.
    #[default]
    Auto,
    /// Every GPU, or an error.
    EveryGpu,
    /// These, or an error.
    On(Devices),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cuda:all" => Ok(Self::EveryGpu),
            other => other.parse().map(Self::On),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::EveryGpu => formatter.write_str("cuda:all"),
            Self::On(devices) => devices.fmt(formatter),
        }
    }
}

/// Devices, and in words why it is those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Where to train.
    pub devices: Devices,
    /// Such as `there is no NVIDIA driver here`; nothing where they were named.
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
#[error("{named} cannot be used: {cause}")]
pub struct DeviceError {
    /// As it was named.
    pub named: String,
    /// Why not.
    pub cause: NoGpu,
}

/// Where to train. The CPU, by that name, needs nothing; otherwise libtorch's part for GPUs is opened.
///
/// # Errors
/// [`DeviceError`] where a GPU is named that cannot be had; `auto` takes the CPU then, and says why.
pub fn choose(wanted: &Wanted) -> Result<Chosen, DeviceError> {
    chosen(wanted, gpus)
}

fn chosen(wanted: &Wanted, gpus: impl FnOnce() -> Result<u16, NoGpu>) -> Result<Chosen, DeviceError> {
    let plain = |devices| Chosen { devices, why: None };
    let refused = |named: &dyn fmt::Display, cause| DeviceError {
        named: named.to_string(),
        cause,
    };
    match wanted {
        Wanted::On(devices) if devices.first == Device::Cpu => Ok(plain(devices.clone())),
        Wanted::On(devices) => {
            let count = gpus().map_err(|cause| refused(devices, cause))?;
            let there = |device: Device| matches!(device, Device::Cuda(index) if index < count);
            match devices.iter().find(|device| !there(*device)) {
                Some(device) => Err(refused(&device, NoGpu::Fewer(count - 1))),
                None => Ok(plain(devices.clone())),
            }
        }
        Wanted::EveryGpu => {
            let count = gpus().map_err(|cause| refused(wanted, cause))?;
            Ok(plain(Devices {
                first: Device::Cuda(0),
                others: (1..count).map(Device::Cuda).collect(),
            }))
        }
        Wanted::Auto => Ok(match gpus() {
            Ok(count) => Chosen {
                devices: Device::Cuda(0).into(),
                why: (count > 1)
                    .then(|| format!("the first of {count} GPUs; --device cuda:all takes all of them")),
            },
            Err(cause) => Chosen {
                devices: Device::Cpu.into(),
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
        let auto = |gpus| chosen(&Wanted::Auto, || gpus).unwrap();
        assert_eq!(
            auto(Ok(1)),
            Chosen {
                devices: Device::Cuda(0).into(),
                why: None
            }
        );
        assert!(auto(Ok(2)).why.unwrap().starts_with("the first of 2 GPUs"));
        let without = auto(Err(library()));
        assert_eq!(without.devices, Device::Cpu.into());
        assert!(without.why.unwrap().contains("pip install torch==2.11.0"));
    }

    #[test]
    fn a_named_gpu_is_taken_or_refused_and_the_cpu_opens_nothing() {
        let named = |text: &str, gpus| chosen(&text.parse().unwrap(), || gpus);
        assert_eq!(named("cuda:1", Ok(2)).unwrap().devices, Device::Cuda(1).into());
        assert_eq!(
            named("cuda:2", Ok(2)).unwrap_err().to_string(),
            "cuda:2 cannot be used: the GPUs here are cuda:0 to cuda:1"
        );
        assert_eq!(named("cuda", Err(NoGpu::None)).unwrap_err().cause, NoGpu::None);
        let cpu = chosen(&"cpu".parse().unwrap(), || {
            unreachable!("the CPU needs no library")
        });
        assert_eq!(cpu.unwrap().why, None);
        assert!("gpu".parse::<Wanted>().unwrap_err().contains("cuda:1"));
    }

    #[test]
    fn several_gpus_are_named_or_all_of_them_meant() {
        let named = |text: &str, gpus| chosen(&text.parse().unwrap(), || gpus);
        let said = |chosen: Result<Chosen, DeviceError>| chosen.unwrap().devices.to_string();
        assert_eq!(said(named("cuda:1,cuda:0", Ok(2))), "cuda:1,cuda:0");
        assert_eq!(said(named("cuda:all", Ok(3))), "cuda:0,cuda:1,cuda:2");
        assert_eq!(
            named("cuda:0,cuda:4", Ok(2)).unwrap_err().to_string(),
            "cuda:4 cannot be used: the GPUs here are cuda:0 to cuda:1"
        );
        assert_eq!(named("cuda:all", Err(NoGpu::None)).unwrap_err().named, "cuda:all");
        for (wrong, why) in [
            ("cpu,cuda:0", "share"),
            ("cuda:0,", "the devices are"),
            ("auto,cuda:0", "the devices are"),
        ] {
            let refused = wrong.parse::<Wanted>().unwrap_err();
            assert!(refused.contains(why), "{wrong}: {refused}");
        }
        // as a run keeps it
        let devices: Devices = "cpu,cpu".parse().unwrap();
        let text = serde_json::to_string(&devices).unwrap();
        assert_eq!(text, "\"cpu,cpu\"");
        assert_eq!(serde_json::from_str::<Devices>(&text).unwrap(), devices);
    }

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let cause = gpu_library::open("libosteon_is_not_there.so.7").unwrap_err();
        assert!(cause.contains("libosteon_is_not_there.so.7"), "{cause}");
    }
}

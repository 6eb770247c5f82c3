//! Where a network computes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A processor that runs networks. It is asked for by name and proven by use: one that cannot run a model whole is an error,
/// never silently another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The cores of this machine.
    #[default]
    Cpu,
    /// An NVIDIA GPU, counted from 0 in the order of `CUDA_VISIBLE_DEVICES` where that is set; a MIG slice counts as one.
    Cuda(u16),
}

impl Device {
    /// The execution provider's name in answers.
    #[must_use]
    pub fn provider(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Cuda(_) => "CUDA",
        }
    }

    /// The sizes in which batches are run, ascending.
    ///
    /// On the CPU one image at a time: its cores are busy with one already. On a GPU a few fixed sizes, each proven and warm
    /// before the model serves, so that no request waits for a kernel to be chosen and memory does not grow with the
    /// variety of batches.
    #[must_use]
    pub fn buckets(self) -> &'static [usize] {
        match self {
            Self::Cpu => &[1],
            Self::Cuda(_) => &[1, 2, 4, 8, 16, 32],
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(index) => write!(formatter, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = match text {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|index| index.parse().ok()),
        };
        index
            .map(Self::Cuda)
            .ok_or_else(|| "the devices are cpu, cuda (the first GPU), cuda:1 and so on".to_owned())
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["gpu", "cuda:", "cuda:-1", "CUDA:x", ""] {
            assert!(wrong.parse::<Device>().unwrap_err().contains("cuda:1"), "{wrong}");
        }
    }
}

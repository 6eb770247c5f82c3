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

    /// Whether it is there where CUDA shows so many GPUs; the CPU always is.
    pub(super) fn is_among(self, gpus: u16) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda(index) => index < gpus,
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

/// What models are to run on, as it is asked for: one device, several of a kind with commas between them, or every GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Devices {
    /// These: at least one, none twice, and the CPU only alone.
    These(Vec<Device>),
    /// Every GPU that CUDA shows to this process, at least one.
    AllGpus,
}

impl Devices {
    /// The first of them.
    #[must_use]
    pub fn first(&self) -> Device {
        match self {
            Self::These(devices) => devices.first().copied().unwrap_or_default(),
            Self::AllGpus => Device::Cuda(0),
        }
    }
}

impl Default for Devices {
    fn default() -> Self {
        Device::default().into()
    }
}

impl From<Device> for Devices {
    fn from(device: Device) -> Self {
        Self::These(vec![device])
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::These(devices) => formatter.write_str(&names(devices)),
            Self::AllGpus => formatter.write_str("cuda:all"),
        }
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "cuda:all" {
            return Ok(Self::AllGpus);
        }
        let mut devices = Vec::new();
        for name in text.split(',') {
            let device: Device = name
                .trim()
                .parse()
                .map_err(|known| format!("{known}; several GPUs are cuda:0,cuda:1 or cuda:all"))?;
            if devices.contains(&device) {
                return Err(format!(
                    "{device} stands there twice: --instances makes several copies of a model on one device"
                ));
            }
            devices.push(device);
        }
        if devices.len() > 1 && devices.contains(&Device::Cpu) {
            return Err("models run on the cpu or on GPUs, not on both".to_owned());
        }
        Ok(Self::These(devices))
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

/// Several devices in one word, as they are asked for.
#[must_use]
pub fn names(devices: &[Device]) -> String {
    let names: Vec<String> = devices.iter().map(Device::to_string).collect();
    names.join(",")
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

    #[test]
    fn several_devices_are_gpus_and_each_stands_once() {
        let these = |devices: &[Device]| Ok(Devices::These(devices.to_vec()));
        for (text, devices) in [
            ("cpu", these(&[Device::Cpu])),
            ("cuda", these(&[Device::Cuda(0)])),
            ("cuda:2, cuda:0", these(&[Device::Cuda(2), Device::Cuda(0)])),
            ("cuda:all", Ok(Devices::AllGpus)),
        ] {
            assert_eq!(text.parse(), devices, "{text}");
            let written = devices.unwrap().to_string();
            assert_eq!(written.parse::<Devices>().unwrap().to_string(), written);
        }
        for (wrong, said) in [
            ("cuda:0,cuda", "cuda:0 stands there twice"),
            ("cpu,cuda:0", "not on both"),
            ("cuda:0,", "cuda:0,cuda:1 or cuda:all"),
            ("all", "cuda:0,cuda:1 or cuda:all"),
        ] {
            assert!(wrong.parse::<Devices>().unwrap_err().contains(said), "{wrong}");
        }
    }
}

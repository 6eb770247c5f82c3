//! `--device`: where a training runs.

use osteon::runtime::Device;
use osteon::train::learn::engine::device::{Wanted, choose};

#[derive(clap::Args)]
pub(crate) struct On {
    /// Where to train: auto (a GPU where there is one), cpu, cuda (the first GPU), cuda:1 and so on
    #[arg(long, default_value_t = Wanted::Auto, value_name = "DEVICE")]
    device: Wanted,
}

impl On {
    /// The device, said aloud with the reason where it was not named.
    pub(crate) fn chosen(&self) -> anyhow::Result<Device> {
        let chosen = choose(self.device)?;
        match chosen.why {
            Some(why) => eprintln!("training on {}: {why}", chosen.device),
            None => eprintln!("training on {}", chosen.device),
        }
        Ok(chosen.device)
    }
}

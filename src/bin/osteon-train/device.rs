//! `--device`: where a training runs.

use osteon::train::learn::Recipe;
use osteon::train::learn::engine::device::{Devices, Wanted, choose};

#[derive(clap::Args)]
pub(crate) struct On {
    /// Where to train: auto (a GPU where there is one), cpu, cuda (the first GPU), cuda:1 and so on; cuda:0,cuda:1 or cuda:all share each batch
    #[arg(long, default_value_t = Wanted::Auto, value_name = "DEVICE")]
    device: Wanted,
}

impl On {
    /// The devices, said aloud with the reason where they were not named; they can do what `recipe` asks for.
    pub(crate) fn chosen(&self, recipe: &Recipe) -> anyhow::Result<Devices> {
        let chosen = choose(&self.device)?;
        recipe.check_on(&chosen.devices)?;
        match chosen.why {
            Some(why) => eprintln!("training on {}: {why}", chosen.devices),
            None => eprintln!("training on {}", chosen.devices),
        }
        Ok(chosen.devices)
    }
}

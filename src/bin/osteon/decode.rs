//! `osteon decode`: what each stage of the way from file to network makes of an image.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use osteon::dicom::Instance;
use osteon::image::decode::{decode_frame, decode_picture, supported};
use osteon::image::preprocess::Preprocessing;
use osteon::image::{Plane, StoredImage, npy};
use osteon::model::Package;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon decode image.dcm -o stored.npy\n  osteon decode image.dcm --stage display -o seen.png\n  osteon decode image.dcm --stage tensor --model spine-osteoporosis-phantom -o input.npy"
)]
pub(crate) struct Arguments {
    /// A DICOM, PNG or JPEG file
    file: PathBuf,
    /// How far to go
    #[arg(long, value_enum, default_value = "stored")]
    stage: Stage,
    /// Which frame, where there are several
    #[arg(long, value_name = "N", default_value_t = 1)]
    frame: u32,
    /// The model whose preprocessing is applied; `tensor` needs one, `display` takes its grey-scale rule
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Folder of models, NAME/VERSION/
    #[arg(long, env = "OSTEON_MODELS", value_name = "DIR", default_value = "models")]
    models: PathBuf,
    /// Where to write: .npy for any stage, .png for `display`
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Stored values, as pydicom's `pixel_array` gives them
    Stored,
    /// After the modality LUT or rescale
    Modality,
    /// After VOI LUT and polarity: 0 is black, 1 is white, bone is bright
    Display,
    /// The network's input
    Tensor,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(&arguments.file).context("the file cannot be read")?;
    let contract = match &arguments.model {
        Some(name) => Some(contract(&arguments.models, name)?),
        None => None,
    };
    let image = if bytes.starts_with(b"\x89PNG") || bytes.starts_with(b"\xFF\xD8\xFF") {
        decode_picture(&bytes)?
    } else {
        let instance = Instance::parse(bytes.into())?;
        for repair in instance.repairs.iter() {
            eprintln!("repaired ({}): {}", repair.code(), repair.message());
        }
        match (arguments.stage, &contract) {
            // the model may allow a lower resolution
            (Stage::Tensor, Some(contract)) if contract.reduced_resolution.is_some() => {
                contract.decode(&instance)?
            }
            _ => decode_frame(&instance, arguments.frame)?,
        }
    };
    let written = match (
        arguments.stage,
        arguments.output.extension().and_then(|end| end.to_str()),
    ) {
        (Stage::Display, Some("png")) => png(&displayed(contract, &image)?)?,
        (_, Some("png")) => {
            bail!("only the stage display can be a picture: choose --stage display, or a file .npy")
        }
        (stage, Some("npy")) => array(stage, contract, &image)?,
        _ => bail!("the output must end in .npy or .png"),
    };
    std::fs::write(&arguments.output, written).context("the output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "this is the program's answer")]
pub(crate) fn formats() -> ExitCode {
    for syntax in supported() {
        println!("{:<28} {}", syntax.uid, syntax.name);
    }
    ExitCode::SUCCESS
}

fn array(stage: Stage, contract: Option<Preprocessing>, image: &StoredImage) -> anyhow::Result<Vec<u8>> {
    let shape = [image.rows, image.columns];
    let codes = image.codes.words(image.rows * image.columns);
    Ok(match stage {
        Stage::Stored if image.signed => {
            let values: Vec<i16> = codes
                .iter()
                .map(|code| image.stored_value(*code) as i16)
                .collect();
            npy::array(&shape, &values)
        }
        Stage::Stored => npy::array(&shape, &codes),
        Stage::Modality => {
            let table = image.modality_values();
            let values: Vec<f64> = codes.iter().map(|code| table[usize::from(*code)]).collect();
            npy::array(&shape, &values)
        }
        Stage::Display => {
            let plane = displayed(contract, image)?;
            let values: Vec<f32> = plane
                .values
                .iter()
                .map(|value| f32::from(*value) / f32::from(u16::MAX))
                .collect();
            npy::array(&shape, &values)
        }
        Stage::Tensor => {
            let contract =
                contract.context("the stage tensor needs --model, whose preprocessing makes it")?;
            let (tensor, _) = contract.apply(image)?;
            npy::array(&tensor.shape, &tensor.values)
        }
    })
}

fn displayed(contract: Option<Preprocessing>, image: &StoredImage) -> anyhow::Result<Plane> {
    Ok(contract
        .unwrap_or_else(|| Preprocessing::grey(1, 1))
        .displayed(image)?)
}

fn png(plane: &Plane) -> anyhow::Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let values: Vec<u8> = plane
        .values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect();
    image::write_buffer_with_format(
        &mut bytes,
        &values,
        plane.columns as u32,
        plane.rows as u32,
        image::ExtendedColorType::L16,
        image::ImageFormat::Png,
    )?;
    Ok(bytes.into_inner())
}

/// The contract of the newest version of a model.
fn contract(models: &Path, name: &str) -> anyhow::Result<Preprocessing> {
    let folders = Package::survey(models)?.packages;
    let of_this_name = folders.iter().filter(|folder| {
        folder
            .parent()
            .and_then(Path::file_name)
            .is_some_and(|found| found == name)
    });
    let mut manifests = Vec::new();
    for folder in of_this_name {
        manifests.push(Package::open(folder)?.manifest);
    }
    let newest = manifests
        .into_iter()
        .max_by_key(|manifest| manifest.version)
        .with_context(|| format!("there is no model {name} under {}", models.display()))?;
    Ok(newest.preprocessing)
}

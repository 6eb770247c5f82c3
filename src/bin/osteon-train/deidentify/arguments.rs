//! What can be said on the command line of `osteon-train deidentify`.

use std::path::PathBuf;

use clap::ValueEnum;
use osteon::deidentify::{PrivateAttribute, ProfileOption};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon-train deidentify --in archive --out clean --key-file secret.key --new-key\n  osteon-train deidentify --in archive --out clean --key-file secret.key --retain modified-dates,patient-characteristics \\\n      --clean descriptors --mask-rules masks.json --report report.json --uid-map secret-map.json\n\nThe same key gives the same UIDs, pseudonyms and date shifts in every run: keep it secret, and keep it as long as more images of\nthe same patients may come. Without --retain ...-dates, dates and times are removed.\n\nMask rules are JSON; a rule without rectangles says that images of this machine and size were looked at and have no text in their pixels:\n  [{\"manufacturer\": \"ACME\", \"model\": \"X1\", \"rows\": 2500, \"columns\": 2048,\n    \"rectangles\": [{\"left\": 0, \"top\": 0, \"width\": 600, \"height\": 90}]}]\n\nWhat is printed and reported holds no value and no path of the input: files go by their number in the sorted list of inputs, new\nones by their new SOP Instance UID (the old one with --retain uids). The UID map says which is which, and is as secret as the key. It ends with a failure if any file was not written."
)]
pub(crate) struct Arguments {
    /// Files, or folders with all that is in them
    #[arg(long = "in", required = true, num_args = 1.., value_name = "PATH")]
    pub(super) inputs: Vec<PathBuf>,
    /// Folder for the new files, named by their new SOP Instance UIDs
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// The key: 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: PathBuf,
    /// Make the key file first; it must not be there
    #[arg(long)]
    pub(super) new_key: bool,
    /// Retain options of PS3.15
    #[arg(long, value_delimiter = ',', value_name = "OPTION")]
    retain: Vec<Retain>,
    /// Clean options of PS3.15; pixels are cleaned by --mask-rules
    #[arg(long, value_delimiter = ',', value_name = "OPTION")]
    clean: Vec<Clean>,
    /// A private attribute that is kept as it is, for example '0019,SIEMENS MR HEADER,0C'
    #[arg(long, value_name = "GGGG,CREATOR,EE")]
    pub(super) keep_private: Vec<PrivateAttribute>,
    /// Values and words that may stay where code strings and descriptions are checked, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) terms: Option<PathBuf>,
    /// Which images have which of their pixels blacked out (Clean Pixel Data Option)
    #[arg(long, value_name = "JSON")]
    pub(super) mask_rules: Option<PathBuf>,
    /// Write what was changed, without a value of the input
    #[arg(long, value_name = "JSON")]
    pub(super) report: Option<PathBuf>,
    /// Write old and new UIDs, and the paths behind the numbers, for nobody but you to read
    #[arg(long, value_name = "JSON")]
    pub(super) uid_map: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Retain {
    /// Private attributes of Table E.3.10-1 that are numbers or codes
    SafePrivate,
    /// UIDs
    Uids,
    /// Who made the machine, and which it is
    DeviceIdentity,
    /// Where it stands
    InstitutionIdentity,
    /// Age, sex, size, weight
    PatientCharacteristics,
    /// Dates and times as they are
    FullDates,
    /// Dates moved into the past, all of a patient by the same days; times as they are
    ModifiedDates,
}

#[derive(Clone, Copy, ValueEnum)]
enum Clean {
    /// Keep known words of descriptions
    Descriptors,
    /// Keep codes and numbers of structured content
    StructuredContent,
    /// Keep graphics without their text; overlays and curves are removed
    Graphics,
    /// Not supported: faces and the like cannot be cleaned here
    RecognizableVisualFeatures,
}

impl Arguments {
    /// The options of the profile that were chosen.
    pub(super) fn options(&self) -> anyhow::Result<Vec<ProfileOption>> {
        let retained = self.retain.iter().map(|retain| match retain {
            Retain::SafePrivate => ProfileOption::SafePrivate,
            Retain::Uids => ProfileOption::Uids,
            Retain::DeviceIdentity => ProfileOption::DeviceIdentity,
            Retain::InstitutionIdentity => ProfileOption::InstitutionIdentity,
            Retain::PatientCharacteristics => ProfileOption::PatientCharacteristics,
            Retain::FullDates => ProfileOption::FullDates,
            Retain::ModifiedDates => ProfileOption::ModifiedDates,
        });
        let mut options: Vec<_> = retained.collect();
        for clean in &self.clean {
            options.push(match clean {
                Clean::Descriptors => ProfileOption::Descriptors,
                Clean::StructuredContent => ProfileOption::StructuredContent,
                Clean::Graphics => ProfileOption::Graphics,
                Clean::RecognizableVisualFeatures => anyhow::bail!(
                    "the Clean Recognizable Visual Features Option is not supported: nothing here can tell a face, a tattoo or an implant from the image around it"
                ),
            });
        }
        Ok(options)
    }
}

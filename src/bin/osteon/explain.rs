//! `osteon explain`: what became of a study, and why, from the store itself.

use std::process::ExitCode;

use anyhow::Context;
use osteon::config::Places;
use osteon::dicom::StudyUid;
use osteon::store::{Event, Store};
use osteon::workflow::account;

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  osteon explain 1.2.276.0.7230010.3.1.2.7\n  osteon explain --database postgres://osteon@db/osteon 1.2.276.0.7230010.3.1.2.7\n\nThe settings are those of the server. The exit status is 0 if the study is known, 1 if it is not."
)]
pub(crate) struct Arguments {
    /// Study Instance UID
    #[arg(value_name = "STUDY")]
    study: String,
    /// The study and its events as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

#[expect(clippy::print_stdout, reason = "the account is what the command is run for")]
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let uid = StudyUid::parse(&arguments.study)?;
    let store = super::store::open(arguments.places).await?;
    let study = store
        .study(&uid)
        .await?
        .with_context(|| format!("no instance of study {uid} has been received"))?;
    let events = store.events(&uid).await?;
    let account = account(&study, &events, store.now().await?);
    if arguments.json {
        let json = serde_json::json!({ "study_instance_uid": uid, "state": study.state, "account": account, "events": events });
        println!("{json}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{account}\n");
    for event in &events {
        println!("  {}  {:<19} {}", event.at, event.kind, detail(event));
    }
    deliveries(&store, &uid).await?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "a part of the account")]
async fn deliveries(store: &Store, uid: &StudyUid) -> anyhow::Result<()> {
    let deliveries = store.deliveries(uid).await?;
    if !deliveries.is_empty() {
        println!("\nIts results on their way:");
    }
    for delivery in deliveries {
        let cause = delivery
            .cause
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        println!(
            "  {:<16} {} after {} attempts{cause}",
            delivery.destination, delivery.state, delivery.attempts
        );
    }
    Ok(())
}

/// `attempt 2, cause: the engine stopped`.
fn detail(event: &Event) -> String {
    let fields = event.detail.as_object().into_iter().flatten();
    let shown = fields.filter(|(_, value)| !value.is_null()).map(|(name, value)| {
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        format!("{}: {value}", name.replace('_', " "))
    });
    shown.collect::<Vec<_>>().join(", ")
}

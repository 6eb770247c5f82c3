//! A steady load of studies of mixed sizes: the memory of the server stays flat. Every second is a line of `soak-ENGINE.csv` in the target folder,
//! written as it comes, and the whole is drawn in one line of text.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::ground::{Engine, Stage};
use crate::stage::ledger::Ledger;
use crate::stage::load::{Load, Plan};
use crate::stage::server::Osteon;
use crate::table::Row;

/// The part of the time after which everything has been used once.
const WARM_UP: f64 = 0.25;
/// What the memory may rise by within an hour and still be called flat, and what a short soak cannot tell from that.
const RISE_MIB_AN_HOUR: f64 = 30.0;
const NOISE_MIB: f64 = 12.0;
/// The most above what it was after the warm-up.
const PEAK_MIB: f64 = 96.0;

struct Sample {
    seconds: f64,
    memory_mib: f64,
    acknowledged: usize,
}

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    let minutes = stage
        .options
        .soak_minutes
        .unwrap_or(if stage.quick() { 5.0 } else { 30.0 });
    // both engines share the time
    let engines = stage.options.engine.list().len() as f64;
    let time = Duration::from_secs_f64(minutes / engines * 60.0);
    let mut row = Row::new("soak", "a steady load of mixed sizes", engine.name());
    let ground = stage.ground("soak", engine)?;
    let settings = ground.settings("soaking");
    let server = Osteon::start(&settings).await?;
    let doors = vec![settings.url()];
    let ledger = Ledger::default();
    let plan = Plan {
        senders: 3,
        // what is sent stays on the disk: an hour must not fill it
        pause: Duration::from_millis(if minutes > 10.0 { 600 } else { 120 }),
        rows: vec![64, 160, 64, 320, 96, 640],
        images: 4,
        ..Plan::new(ground.run, &doors)
    };
    let (path, mut file) = create(engine)?;
    println!("   samples: {}", path.display());
    let load = Load::start(plan, &ledger);
    let (began, mut samples) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        sleep(Duration::from_secs(1)).await;
        let sample = Sample {
            seconds: began.elapsed().as_secs_f64(),
            memory_mib: server
                .memory_mib()
                .ok_or_else(|| format!("the server is gone: {}", server.last_words()))?,
            acknowledged: ledger.studies().len(),
        };
        sample.write(&mut file).map_err(|error| error.to_string())?;
        samples.push(sample);
    }
    let tally = load.take();
    let sent = load.stop().await;
    let audit = ledger.audit(&doors, Duration::from_secs(60)).await;
    let warm = &samples[(samples.len() as f64 * WARM_UP) as usize..];
    if warm.len() < 20 {
        return Err("the soak is too short to say anything: give it a minute at least".to_owned());
    }
    let slope = slope(warm) * 3600.0;
    let base = median(&warm[..warm.len() / 4]);
    let last = median(&warm[warm.len() / 4 * 3..]);
    let peak = warm.iter().map(|sample| sample.memory_mib).fold(0.0, f64::max);
    let hours = (warm[warm.len() - 1].seconds - warm[0].seconds) / 3600.0;
    row.done = format!(
        "{:.1} min; {sent} studies sent, {} acknowledged ({:.0}/s)",
        time.as_secs_f64() / 60.0,
        audit.studies,
        audit.studies as f64 / time.as_secs_f64()
    );
    row.audited(&audit);
    row.must(
        tally.statuses.keys().all(|status| *status == 200),
        format!("answers {:?}", tally.statuses),
    );
    row.must(
        last - base < NOISE_MIB + RISE_MIB_AN_HOUR * hours,
        format!(
            "its memory rose from {base:.0} to {last:.0} MiB in {:.0} minutes",
            hours * 60.0
        ),
    );
    row.must(
        peak < base + PEAK_MIB,
        format!("its memory was {base:.0} MiB and once {peak:.0}"),
    );
    row.figure(format!(
        "memory {base:.0} -> {last:.0} MiB, peak {peak:.0}, {slope:+.0} MiB/h {}",
        drawn(&samples)
    ));
    Ok(vec![row])
}

/// Least squares, MiB a second.
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.seconds), mean(|sample| sample.memory_mib));
    let over: f64 = samples
        .iter()
        .map(|sample| (sample.seconds - x) * (sample.memory_mib - y))
        .sum();
    let under: f64 = samples.iter().map(|sample| (sample.seconds - x).powi(2)).sum();
    over / under
}

fn median(samples: &[Sample]) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.memory_mib).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The memory over the time, from zero to its peak.
fn drawn(samples: &[Sample]) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let peak = samples.iter().map(|sample| sample.memory_mib).fold(1.0, f64::max);
    let chunk = samples.len().div_ceil(32);
    let step = |part: &[Sample]| STEPS[((median(part) / peak * 8.0) as usize).min(7)];
    samples.chunks(chunk).map(step).collect()
}

fn create(engine: Engine) -> Result<(PathBuf, File), String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("soak-{}.csv", engine.name().to_lowercase()));
    let create = || {
        let mut file = File::create(&path)?;
        writeln!(file, "seconds,memory_mib,acknowledged")?;
        Ok(file)
    };
    let file =
        create().map_err(|error: std::io::Error| format!("{} cannot be written: {error}", path.display()))?;
    Ok((path, file))
}

impl Sample {
    fn write(&self, file: &mut File) -> std::io::Result<()> {
        let Self {
            seconds,
            memory_mib,
            acknowledged,
        } = self;
        writeln!(file, "{seconds:.1},{memory_mib:.1},{acknowledged}")
    }
}

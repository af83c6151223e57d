//! `interviewai models`: which weights there are, getting them, checking them.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use models::weights::{Progress, WeightsCache, WeightsEntry, WeightsError, WeightsStatus, catalogue, find};

use crate::{
    Error,
    cli::{Models, ModelsAction},
    settings::Settings,
};

pub(crate) async fn run(settings: &Settings, arguments: Models) -> Result<ExitCode, Error> {
    let cache = WeightsCache::new(settings.cache.dir.clone());
    let named = |name: Option<String>| name.unwrap_or_else(|| settings.speech.local.weights.clone());
    match arguments.action {
        ModelsAction::List => list(&cache, &settings.speech.local.weights)?,
        ModelsAction::Path { name } => println!("{}", cache.path(find(&named(name))?).display()),
        ModelsAction::Fetch { name } => println!("{}", ensure(settings, &named(name)).await?.display()),
        ModelsAction::Verify { name } => return verify(cache, name).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// The file of the weights called `name`, fetched if it is not there.
pub(crate) async fn ensure(settings: &Settings, name: &str) -> Result<PathBuf, Error> {
    let entry = find(name)?;
    let cache = WeightsCache::new(settings.cache.dir.clone());
    if let Ok(path) = cache.locate(entry) {
        return Ok(path);
    }
    Ok(tokio::task::spawn_blocking(move || with_bar(entry.name, |progress| cache.fetch(entry, progress)))
        .await??)
}

fn list(cache: &WeightsCache, configured: &str) -> Result<(), WeightsError> {
    println!("{:<14} {:>7}  {:<9} description", "name", "size", "here");
    for entry in catalogue() {
        let here = match cache.status(entry)? {
            WeightsStatus::Present { .. } => "yes",
            WeightsStatus::Missing => "no",
            WeightsStatus::WrongSize { .. } => "damaged",
        };
        let mark = if entry.name == configured { " (configured)" } else { "" };
        let size = format!("{} MB", entry.bytes.div_ceil(1_000_000));
        println!("{:<14} {size:>7}  {here:<9} {}{mark}", entry.name, entry.description);
    }
    Ok(())
}

async fn verify(cache: WeightsCache, name: Option<String>) -> Result<ExitCode, Error> {
    let here = |entry: &&WeightsEntry| !matches!(cache.status(entry), Ok(WeightsStatus::Missing));
    let entries: Vec<&'static WeightsEntry> = match name {
        Some(name) => vec![find(&name)?],
        None => catalogue().iter().filter(here).collect(),
    };
    if entries.is_empty() {
        println!("no weights are here yet; `interviewai models fetch` gets the configured ones");
    }
    let mut failed = false;
    for entry in entries {
        let cache = cache.clone();
        let verified = tokio::task::spawn_blocking(move || {
            with_bar(entry.name, |progress| cache.verify(entry, progress))
        })
        .await?;
        match verified {
            Ok(()) => println!("{:<14} ok  sha256 {}", entry.name, entry.sha256),
            Err(error) => {
                failed = true;
                println!("{:<14} BAD {error}", entry.name);
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Shows the progress of `work` on standard error: a bar on a terminal, a line a stage elsewhere.
fn with_bar<T>(name: &str, work: impl FnOnce(&mut dyn FnMut(Progress<'_>)) -> T) -> T {
    let style = ProgressStyle::with_template(
        "{prefix} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}",
    )
    .expect("the template is a constant");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10)).with_style(style);
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut stage = String::new();
    let result = work(&mut |progress| {
        let (message, position) = match progress {
            Progress::Waiting => ("waiting for another process".to_owned(), None),
            Progress::Fetching { source, bytes, total } => {
                (format!("fetching {source}"), Some((bytes, total)))
            }
            Progress::Extracting { bytes, total } => ("extracting".to_owned(), Some((bytes, total))),
            Progress::Converting { bytes, total } => ("converting".to_owned(), Some((bytes, total))),
            Progress::Verifying { bytes, total } => ("verifying".to_owned(), Some((bytes, total))),
            Progress::SourceFailed { source, reason } => (format!("{source} failed: {reason}"), None),
        };
        if stage != message {
            if bar.is_hidden() {
                eprintln!("{name}: {message}");
            }
            stage.clone_from(&message);
            bar.set_message(message);
            bar.reset_eta();
        }
        if let Some((bytes, total)) = position {
            bar.set_length(total);
            bar.set_position(bytes);
        }
    });
    bar.finish_and_clear();
    result
}

//! `interviewai keys rotate`: a new key for access tokens, while servers run. They notice within a minute.

use std::process::ExitCode;

use control_api::auth::KeyFolder;

use crate::{
    Error,
    cli::{Keys, KeysAction},
    settings::Settings,
};

pub(crate) fn run(settings: &Settings, arguments: &Keys) -> Result<ExitCode, Error> {
    let KeysAction::Rotate = arguments.action;
    let folder = settings.keys_dir();
    let keys = KeyFolder::open(&folder)?.rotate()?;
    println!("{}: {} keys, the newest of which signs in six minutes", folder.display(), keys.count());
    Ok(ExitCode::SUCCESS)
}

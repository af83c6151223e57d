//! Who the users are: profile, preferences, plan and role.
//!
//! Not here: how somebody proves to be one of them (`auth`), what a plan allows (`quotas`).

mod admin;
mod cv;
mod language;
mod patch;
mod preferences;
mod profile;
mod usage;

pub use cv::Cv;
pub use language::is_language;

use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    ApiState,
    storage::{Index, Record},
};

/// A user, as kept. Times are unix ms.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// UUID v7.
    pub id: String,
    /// In lower case. Unique among those who are not deleted.
    pub email: String,
    /// Whether the address was proven to be theirs.
    pub email_verified: bool,
    /// PHC string of argon2id, or bcrypt of the original design. None for who only signs in with Google.
    pub password_hash: Option<String>,
    /// `sub` at the OpenID Connect provider.
    pub google_sub: Option<String>,
    /// What they are called.
    pub first_name: String,
    /// Family name; may be empty.
    pub last_name: String,
    /// What they pay for.
    pub plan: Plan,
    /// Whether they run the service.
    pub admin: bool,
    /// What they prefer.
    pub preferences: Preferences,
    /// When the terms were accepted.
    pub terms_accepted_at: i64,
    /// When the account was made.
    pub created_at: i64,
    /// When it was deleted. It is erased a little later, by a job.
    pub deleted_at: Option<i64>,
}

impl User {
    /// What they may do.
    pub fn role(&self) -> Role {
        match (self.admin, self.plan) {
            (true, _) => Role::Admin,
            (false, Plan::Free) => Role::User,
            (false, Plan::Pro) => Role::Pro,
            (false, Plan::Elite) => Role::Elite,
        }
    }
}

impl Record for User {
    const COLLECTION: &'static str = "users";
    const INDEXES: &'static [Index] = &[
        Index::on("email", &["email"]).unique().only_without("deleted_at"),
        Index::on("google_sub", &["google_sub"]).unique().only_without("deleted_at"),
        Index::on("deleted", &["deleted_at"]).sparse(),
    ];

    fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for User {
    /// Without whom it is about.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// What a user pays for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// Nothing.
    #[default]
    Free,
    /// The middle one.
    Pro,
    /// The large one.
    Elite,
}

/// What a user may do: each may what those before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// On the free plan.
    User,
    /// On the plan pro.
    Pro,
    /// On the plan elite.
    Elite,
    /// Runs the service.
    Admin,
}

/// What a user prefers; every session begins with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, Validate)]
#[garde(allow_unvalidated)]
#[serde(default, deny_unknown_fields)]
pub struct Preferences {
    /// Of interviews and mails: ISO 639-1, or `auto`.
    #[garde(custom(language::check))]
    #[schema(example = "en")]
    pub language: String,
    /// By what they want to be told.
    pub notifications: Notifications,
    /// How answers are.
    pub answers: AnswerPreferences,
    /// Whether a session begins to transcribe by itself.
    pub auto_transcription: bool,
    /// What is kept of them.
    pub privacy: Privacy,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            language: "en".to_owned(),
            notifications: Notifications::default(),
            answers: AnswerPreferences::default(),
            auto_transcription: true,
            privacy: Privacy::default(),
        }
    }
}

/// By what a user wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Notifications {
    /// Mail, beside what an account cannot do without.
    pub email: bool,
    /// Messages on the phone.
    pub push: bool,
}

impl Default for Notifications {
    fn default() -> Self {
        Self { email: true, push: false }
    }
}

/// How answers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerPreferences {
    /// How they sound.
    pub style: AnswerStyle,
    /// How long they are.
    pub length: AnswerLength,
}

/// How answers sound: the protocol's variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStyle {
    /// Polished.
    Professional,
    /// Between the others.
    #[default]
    Balanced,
    /// In plain words.
    Simple,
}

/// How long answers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerLength {
    /// A few sentences.
    Short,
    /// Half a minute.
    #[default]
    Medium,
    /// A minute.
    Long,
}

/// What is kept of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// Whether sessions are kept in the history unless a session says otherwise.
    pub save_history: bool,
    /// Whether their use may be counted beyond what the plan needs.
    pub share_analytics: bool,
}

impl Default for Privacy {
    fn default() -> Self {
        Self { save_history: true, share_analytics: false }
    }
}

pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(profile::read, profile::change))
        .routes(routes!(preferences::read, preferences::change))
        .merge(cv::routes())
        .routes(routes!(usage::read))
        .routes(routes!(admin::find))
        .routes(routes!(admin::change))
}

/// A user's plan or role has changed: JSON `{"user_id": "…"}`, on this topic of the cache. Who hears it reads the user anew.
pub const CHANGED_TOPIC: &str = "user-changed";

//! Schemathesis: asks an API everything that its description allows, and much that it does not.
//!
//! It comes from the package index by pip, by hash, into an environment of its own, once a machine. Not here: which API, as whom.

use std::{env, fs, process::Command, time::Duration};

use serde_json::Value;

use crate::python;

/// What to ask, and as whom.
pub(crate) struct Run<'a> {
    /// Where the API is.
    pub(crate) url: &'a str,
    /// How it describes itself. From a file: the program leaves out the route that it reads a description from.
    pub(crate) document: &'a Value,
    /// Whose access token to send.
    pub(crate) token: &'a str,
    /// Which operations, as options of the program.
    pub(crate) operations: &'a [&'a str],
    /// Of each operation, in its random part.
    pub(crate) examples: u32,
    /// `schemathesis.toml`: what is known of parameters.
    pub(crate) known: &'a str,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What it printed.
    pub(crate) said: String,
    /// Whether it ended by itself and found nothing.
    pub(crate) clean: bool,
    /// Its report, as JSON.
    pub(crate) report: Value,
}

impl Run<'_> {
    /// None when the environment says to leave it out, which is printed.
    pub(crate) fn go(&self) -> Option<Outcome> {
        if env::var_os("INTERVIEWAI_SKIP_SCHEMATHESIS").is_some_and(|it| it == "1") {
            eprintln!("SKIPPED, as INTERVIEWAI_SKIP_SCHEMATHESIS=1 says: no test with Schemathesis");
            return None;
        }
        let home = python::environment(VERSION, REQUIREMENTS, "Schemathesis (15 MB)", WITHOUT);
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::write(folder.path().join("schemathesis.toml"), self.known).expect("it can be written");
        let document = folder.path().join("openapi.json");
        fs::write(&document, self.document.to_string()).expect("it can be written");
        let report = folder.path().join("report.json");
        let mut command = Command::new(home.join("bin/python"));
        command
            .current_dir(folder.path())
            .args(["-I", "-m", "schemathesis.cli", "run", "--no-color", "--warnings=off"])
            .args(["--checks", CHECKS, "--continue-on-failure", "--no-shrink"])
            // One thread: with several, Python 3.11's parser fails at times, and the order of requests varies.
            .args(["--workers=1", "--generation-deterministic"])
            .args(["--max-examples", &self.examples.to_string()])
            .args(["--request-timeout", &REQUEST.as_secs().to_string()])
            .args(["--header", &format!("Authorization: Bearer {}", self.token)])
            .args(["--phases=examples,coverage,fuzzing", "--report=json", "--report-json-path"])
            .arg(&report)
            .args(self.operations)
            .args(["--url", self.url])
            .arg(&document);
        let output = command.output().expect("the environment has a Python");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let report = fs::read(&report).unwrap_or_else(|error| panic!("{error}; it said:\n{said}"));
        let report = serde_json::from_slice(&report).expect("the report is JSON");
        Some(Outcome { said, clean: output.status.success(), report })
    }
}

const WITHOUT: &str = "; Python is 3.11 to 3.14; INTERVIEWAI_SKIP_SCHEMATHESIS=1 leaves it out";
/// A failure of ours, or an answer that is not described.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// As long as the API takes for a request at most.
const REQUEST: Duration = Duration::from_secs(30);

/// Names the environment in the cache; changes with [`REQUIREMENTS`].
const VERSION: &str = "schemathesis-1";

/// Where a package is no pure Python, its wheels for Linux with glibc and Python 3.11 to 3.14, x86-64 and ARM.
const REQUIREMENTS: &str = r"
anyio==4.16.0 --hash=sha256:c66ae634e0b8228396b801741beb3294326d4b6102f7bba4041c0dfb58c29026
certifi==2026.10.19.post1 --hash=sha256:1324c476b4811eff41a8bc2122cd0bbd4d9c7234c725446d99ab1612b3a7fdd2
charset-normalizer==3.5.3 --hash=sha256:96e268b0cbda016ac519513294fcd17032264085b600abaac58b93049477e132
click==8.5.1 --hash=sha256:8bb5376d2006950386f8c6427613334a2acadc5f559cb80e638d00b4df957e37
graphql-core==3.3.2 --hash=sha256:d83f49ee18d2db89fb575dab6ffefa8aa1bf5f60dff8a6781db6f63420041348
harfile==0.6.0 --hash=sha256:0f2209d6ec164a2aea7e8fb2b49d9fef5ddeee51b65dbfd28a4167185c34bb30
hypothesis==6.170.17 \
  --hash=sha256:ba5757621056597fd71d101357fed17b7f200592ca6050b59bf6733869de9fc5 \
  --hash=sha256:c9e5128120882dd8b75de43f8be753f2090d176c3f0be614c6e782fb4029fa86 \
  --hash=sha256:fd5f7feb13c275bb4672c5ef651ab6df1cb4a054c54d14aa44e578274241587a \
  --hash=sha256:83725fa8022f45bc972e975d07e45aca63d1d1edf415821d8c28aa6014323cfb \
  --hash=sha256:49ff426ec74e563457a0523dbc87cbb2bcb7f76a3b9b276ddea4384f56a05b43 \
  --hash=sha256:3dc7aad87973e8305370f1d79e8b1593c6373524447fa2cb7688438e658275ed \
  --hash=sha256:475bd1ed6971a237540f68a5b2004a415b738a6c7a68bdc3efaa85f8e385d942 \
  --hash=sha256:38122420168c2f47a42ee848b73f684bc03f6d7c5e0ffcb10eb2a153af55be96
hypothesis-graphql==0.13.5 --hash=sha256:7bf16b290fc5b870539e0181446cda1f2aadc3b233a8b475331abc1764fe4e40
idna==3.20 --hash=sha256:ab7ae7122974553370f0bdb919e1a960b2cd1bc1ef0276416d896db81c14582c
iniconfig==2.3.1 --hash=sha256:9121e2c1fdb355232495be3194c8dfe87ccc2d5dee45947b78e68f499790d7a7
jsonschema-rs==0.60.3 \
  --hash=sha256:326ec5b6800552ccd76a1acca131f70511ac013b377230bdd541db3244adc9fa \
  --hash=sha256:ae44f1b248f243d1901214b3ce94519ecc24e1cde3746cb50bd839b18b5adfd4
markdown-it-py==4.3.0 --hash=sha256:7aa1511a46c39138de78d9eba92ce47e63124d8003fc98b3a351909e04239efa
markupsafe==3.0.4 \
  --hash=sha256:6da83a088f8ef93b2d483a8232a4dbf4d69d3d8496b568a03c56becac43e1808 \
  --hash=sha256:7018d4af1cd272e847aa5917983ab5e83e4f6579f9dbfecd4a79c0ca80b144c2 \
  --hash=sha256:849dd2bb0e5e4ab2b71c7191726a4a8d5aa8a610daa584728cbee0b710ddc4ef \
  --hash=sha256:8e124f974786f831d6043728e38296969d3579db8896fe004682f5758e613581 \
  --hash=sha256:1caa2fa5a6184fb233153b35f654e6687bd555476f6170f29d8ee9be1a8b0af9 \
  --hash=sha256:6a45c3d514f2436064db00d7fc8778d888f0236ebfed649b53d13a59e69ad51b \
  --hash=sha256:a8e9f292fcda89b324f2f5c91d13f1424a153e40fc2756f38ee23b15835ff300 \
  --hash=sha256:434139499bb20b502ed3baa1f169e618f924a97e7a777fea1a49446d80106cf6
mdurl==0.1.2 --hash=sha256:84008a41e51615a49fc9966191ff91509e3c40b939176e643fd50a5c2196b8f8
packaging==26.4 --hash=sha256:81383611a09c1bc0b08b76e0fd5829d7c6824c65b27a6aee339da133f4233ea2
pluggy==1.7.0 --hash=sha256:7dd7b0d8832ba3cb632c306926ded123429211b83641b35dc5c41ad2d34f9bec
pygments==2.21.0 --hash=sha256:2363c69b61c4a97c838da3b130dcd6468f4848992b21a82f2a63ec34377137d9
pyrate-limiter==4.5.1 --hash=sha256:bb8dd2926b0679e4ada6629a865e85daa5599268f930c61a8992dafa8bf3ba0d
pytest==9.2.0 --hash=sha256:07acdcf88ec174f907dc01af70bf52d49b014bbab03faeeade31c96b18c2e588
pyyaml==6.0.4 \
  --hash=sha256:622aa875fa6533f25fedcffe23079357d65a690d462200afed5d8e9d0e01ebee \
  --hash=sha256:41b4669c3a8fd5750e594dff59d3e62d40e321fec467b50449603710ed0a68f3 \
  --hash=sha256:45e37dd647db9d67b757444c74060c064ace5fdaa08f42bf4fda3812275d423e \
  --hash=sha256:71bb5b87465d88d1dfc577115af6d435bff9b26f2512936f610c26aa55966028 \
  --hash=sha256:ed9b957abb12f6ffcd92d5db32fa3ffd4e4a8423d80ddd51b4efa63b42f6a76b \
  --hash=sha256:50588147ab2c6a59b5f990a4905db80899a6c2bd197e046a6201f1e67587e794 \
  --hash=sha256:c604dc2613c417130479cdd6e55c2faa691b6365aa82b3dafddfcecc2eaf1ac7 \
  --hash=sha256:93bfb2459195406a518e2f487a9bbf01df240175f31e06f5a252ac6734c7bbf0
requests==2.34.2 --hash=sha256:2a0d60c172f83ac6ab31e4554906c0f3b3588d37b5cb939b1c061f4907e278e0
rich==15.0.0 --hash=sha256:33bd4ef74232fb73fe9279a257718407f169c09b78a87ad3d296f548e27de0bb
schemathesis==4.32.5 --hash=sha256:5ec7e532ebdf9b0e0239a943df2a565174aecda513b61e564d8ad2a3ac801f22
sortedcontainers==2.4.0 --hash=sha256:a163dcaede0f1c021485e957a39245190e74249897e2ae4b2aa38595db237ee0
typing-extensions==4.16.0 --hash=sha256:481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8
urllib3==2.8.0 --hash=sha256:0cf3cae568d36aa9576b28dfb35f11328f1cb974ca7647d9475ebb86c75ac6e3
werkzeug==3.1.9 --hash=sha256:6392e50c78460ba618e5b21f08a71f59c99ce99cdc6cf6e3dd7e6ccca8754fab
";

//! The reader of environment variables.
//!
//! A default in the code that does not parse is a programming mistake: it panics in the first test that reads the
//! settings.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::error::{ConfigError, Mistake};
use super::secret::{REDACTED, Secret, redact_url};
use super::variable::{FormerName, Remark, Variable};

/// Longest duration of a setting in seconds: a hundred years, which people write for "never". Sums with a time of day
/// or a timer, and the nanoseconds that NATS uses, must not overflow.
const LONGEST_SECONDS: u64 = 100 * 365 * 24 * 3600;
/// Longest duration of a setting in milliseconds: a day. PostgreSQL refuses limits of 2^31 milliseconds, in each
/// session.
const LONGEST_MILLIS: u64 = 24 * 3600 * 1000;

/// Reads variables, remembers each, and collects the mistakes.
#[derive(Debug, Default)]
pub struct Env {
    values: HashMap<String, String>,
    variables: Vec<Variable>,
    mistakes: Vec<Mistake>,
    remarks: Vec<Remark>,
    /// The ports that this process opens, with the variables that name them.
    ports: Vec<(String, SocketAddr)>,
    /// What is known of the variable that is read next.
    next: Variable,
    /// Variables that are set under an older name, with that name.
    set_as: HashMap<String, String>,
}

impl Env {
    /// The variables of this process. One that is not valid UTF-8 counts as absent.
    pub fn from_process() -> Self {
        Self::from_pairs(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// Given variables, for tests and for generating documents.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { values, ..Self::default() }
    }

    /// Describes the variable that is read next.
    pub fn about(&mut self, about: &str) -> &mut Self {
        about.clone_into(&mut self.next.about);
        self
    }

    /// Gives an acceptable value of the variable that is read next, for error messages and documents.
    pub fn example(&mut self, example: &str) -> &mut Self {
        example.clone_into(&mut self.next.example);
        self
    }

    /// Gives an older name of the variable that is read next, and the release that renamed it. The older name is read if
    /// the new one is not set, until the next minor release. If both are set, their values must be the same.
    pub fn formerly(&mut self, name: &str, since: &str) -> &mut Self {
        self.next.formerly.push(FormerName::new(name, since));
        self
    }

    /// A required text.
    pub fn required(&mut self, name: &str) -> String {
        self.next.required = true;
        self.optional(name).unwrap_or_default()
    }

    /// A required secret text.
    pub fn required_secret(&mut self, name: &str) -> Secret {
        self.next.required = true;
        self.optional_secret(name).unwrap_or_default()
    }

    /// A text that may be absent.
    pub fn optional(&mut self, name: &str) -> Option<String> {
        self.get::<String>(name)
    }

    /// A secret text that may be absent.
    pub fn optional_secret(&mut self, name: &str) -> Option<Secret> {
        self.next.secret = true;
        self.optional(name).map(Secret::new)
    }

    /// A value that may be absent.
    pub fn optional_parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let value = self.get::<T>(name)?;
        self.accept(name, value.parse())
    }

    /// The path of a file. The caller checks the file.
    pub fn file(&mut self, name: &str) -> Option<PathBuf> {
        "path of a file".clone_into(&mut self.next.accepts);
        self.optional(name).map(PathBuf::from)
    }

    /// A text with a default.
    pub fn text_or(&mut self, name: &str, default: &str) -> String {
        self.parse_or(name, default)
    }

    /// A value with a default. The default must parse.
    pub fn parse_or<T: FromStr<Err: Display>>(&mut self, name: &str, default: &str) -> T {
        self.next.default = Some(default.to_owned());
        let value = self.get::<T>(name);
        value.and_then(|value| self.accept(name, value.parse())).unwrap_or_else(|| match default.parse() {
            Ok(parsed) => parsed,
            // A mistake in the code, not in the settings; see the head of this file.
            Err(error) => panic!("the default {default:?} of {name} does not parse: {error}"),
        })
    }

    /// A number with a default and limits.
    pub fn number_or<T>(&mut self, name: &str, default: T, limits: RangeInclusive<T>) -> T
    where
        T: FromStr<Err: Display> + Display + PartialOrd,
    {
        self.next.accepts = format!("{} from {} to {}", unit(name), limits.start(), limits.end());
        let number = self.parse_or(name, &default.to_string());
        if !limits.contains(&number) {
            self.reject(name, format!("must be from {} to {}", limits.start(), limits.end()));
        }
        number
    }

    /// A switch with a default; `true` and `false` are its values.
    pub fn flag_or(&mut self, name: &str, default: bool) -> bool {
        self.parse_or(name, &default.to_string())
    }

    /// A duration in whole seconds, above zero and at most a hundred years.
    pub fn seconds_or(&mut self, name: &str, default: u64) -> Duration {
        Duration::from_secs(self.number_or(name, default, 1..=LONGEST_SECONDS))
    }

    /// A duration in whole milliseconds, above zero and at most a day.
    pub fn millis_or(&mut self, name: &str, default: u64) -> Duration {
        Duration::from_millis(self.number_or(name, default, 1..=LONGEST_MILLIS))
    }

    /// The address of a port that the process opens. Two ports that overlap are a mistake.
    pub fn port_or(&mut self, name: &str, default: &str) -> SocketAddr {
        let address: SocketAddr = self.parse_or(name, default);
        let taken = self.ports.iter().find(|(_, other)| overlap(address, *other)).map(|(by, _)| by.clone());
        if let Some(by) = taken {
            self.reject(name, format!("is the same port as {by}: give one of them another port"));
        }
        self.ports.push((name.to_owned(), address));
        address
    }

    /// Records a mistake that a getter cannot see, such as two settings that contradict each other.
    pub fn reject(&mut self, name: &str, problem: impl Into<String>) {
        let known = self.variables.iter().find(|variable| variable.name == name);
        let example = known.map(|variable| variable.example.clone()).unwrap_or_default();
        let mut problem = problem.into();
        if let Some(former) = self.set_as.get(name) {
            problem = format!("{problem} (set by its older name {former})");
        }
        self.mistakes.push(Mistake { variable: name.to_owned(), problem, example });
    }

    /// The value, or `None` after recording why it cannot be used.
    pub fn accept<T>(&mut self, name: &str, value: Result<T, impl Display>) -> Option<T> {
        value.inspect_err(|error| self.reject(name, error.to_string())).ok()
    }

    /// True if the variable has a value, valid or not.
    pub fn is_set(&self, name: &str) -> bool {
        self.value(name).is_some() || self.set_as.contains_key(name)
    }

    /// Records a warning about a value, which the process logs at its start. `text` must not contain the value: it may
    /// be a secret.
    pub fn remark(&mut self, name: &str, text: impl Into<String>) {
        self.remarks.push(Remark { variable: name.to_owned(), text: text.into() });
    }

    /// The remarks so far.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// The variables read so far, in order.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// All settings in use as `NAME=value`, with credentials taken out, for the start line.
    pub fn redacted(&self) -> String {
        let all = self.variables.iter().map(|variable| format!("{}={}", variable.name, variable.shown));
        all.collect::<Vec<_>>().join(" ")
    }

    /// Returns the settings, or all mistakes.
    pub fn finish<T>(self, settings: T) -> Result<T, ConfigError> {
        if self.mistakes.is_empty() { Ok(settings) } else { Err(ConfigError { mistakes: self.mistakes }) }
    }

    /// Reads and records a variable. The form of the value follows from `T`, unless the getter has set it.
    fn get<T>(&mut self, name: &str) -> Option<String> {
        let next = std::mem::take(&mut self.next);
        let value = self.read(name, &next.formerly);
        let shown = match value.as_deref().or(next.default.as_deref()) {
            None => "(unset)".to_owned(),
            // No part of a secret may be shown, even if it looks like an address.
            Some(_) if next.secret && !name.ends_with("_URL") => REDACTED.to_owned(),
            Some(value) if next.secret || value.contains("://") => redact_url(value),
            Some(value) => value.to_owned(),
        };
        let required = next.required;
        self.variables.push(Variable {
            name: name.to_owned(),
            accepts: if next.accepts.is_empty() { form::<T>(name) } else { next.accepts },
            shown,
            ..next
        });
        if required && value.is_none() {
            self.reject(name, "is required and not set");
        }
        value
    }

    /// The value of a variable, or of an older name of it.
    fn read(&mut self, name: &str, formerly: &[FormerName]) -> Option<String> {
        let mut value = self.value(name);
        for former in formerly {
            let Some(older) = self.value(&former.name) else { continue };
            let gone_in = &former.gone_in;
            let text = format!("is called {name} now: rename it, {gone_in} ignores the older name");
            self.remark(&former.name, text);
            match &value {
                Some(newer) if *newer != older => {
                    self.reject(name, format!("contradicts its older name {}: unset that", former.name));
                }
                Some(_) => {}
                None => {
                    self.set_as.insert(name.to_owned(), former.name.clone());
                    value = Some(older);
                }
            }
        }
        value
    }

    /// An empty or blank variable counts as absent: shells and templates express "not set" that way.
    fn value(&self, name: &str) -> Option<String> {
        let value = self.values.get(name)?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }
}

/// The form of a value of this type, for people.
fn form<T>(name: &str) -> String {
    let of = std::any::type_name::<T>();
    match of.rsplit("::").next().unwrap_or(of) {
        "bool" => "true or false".to_owned(),
        "SocketAddr" => "address and port".to_owned(),
        "u16" | "u32" | "u64" | "usize" | "f64" | "NonZero<u32>" => unit(name).to_owned(),
        _ => "text".to_owned(),
    }
}

/// The unit of a number, by the suffix of its variable.
fn unit(name: &str) -> &'static str {
    match name.rsplit('_').next() {
        Some("BYTES") => "bytes",
        Some("SECONDS") => "seconds",
        Some("MILLIS") => "milliseconds",
        _ => "number",
    }
}

/// True if only one of two addresses can be listened on. `[::]` takes IPv4 as well, and port 0 is a free one.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |one: IpAddr, other: IpAddr| match one {
        IpAddr::V6(ip) if ip.is_unspecified() => true,
        IpAddr::V4(ip) if ip.is_unspecified() => other.is_ipv4(),
        _ => one == other,
    };
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() != 0 && one.port() == other.port() && (covers(ip, other_ip) || covers(other_ip, ip))
}

#[cfg(test)]
#[path = "env_tests.rs"]
mod tests;

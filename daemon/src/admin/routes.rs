//! What is served under which path.

use super::{
    profile::{self, Profiler},
    request::{Method, Request},
    response::{Answer, Code, HTML, OPEN_METRICS, Response},
    server::Ticket,
};
use std::{fmt, ops::RangeInclusive, time::Instant};

/// What the daemon tells about itself.
pub trait Status {
    /// Whether a first full poll is done; if not, why.
    ///
    /// # Errors
    /// The reason, for a person.
    fn ready(&self) -> Result<(), &str>;

    /// Writes the metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When a metric cannot be written.
    fn render_metrics(&mut self, text: &mut String) -> fmt::Result;
}

/// The paths, and what they need to remember.
#[derive(Debug)]
pub struct Routes {
    metrics_path: String,
    /// Takes the profiles.
    pub profiler: Profiler,
}

const PPROF_INDEX: &str = "/debug/pprof/profile?seconds=30&hz=99  CPU profile: go tool pprof BINARY URL
/debug/pprof/heap                      not kept, answers how to get one
";

/// `go tool pprof` posts the addresses here that it finds no name for, and gives up on the whole
/// profile when it is refused. It must find them in the binary: there is none to be had here.
const SYMBOLS_PATH: &str = "/debug/pprof/symbol";

const NO_HEAP_PROFILE: &str = "heap profiles are not kept, since the daemon hardly allocates after its start: \
     run it under `heaptrack` or `valgrind --tool=massif` to get one";

impl Routes {
    /// Metrics under `metrics_path`, everything else under its usual path.
    pub fn new(metrics_path: &str) -> Routes {
        Routes {
            metrics_path: metrics_path.to_owned(),
            profiler: Profiler::default(),
        }
    }

    /// Answers a request.
    pub fn answer(
        &mut self,
        request: &Request<'_>,
        ticket: Ticket,
        now: Instant,
        status: &mut dyn Status,
    ) -> Answer {
        if request.method == Method::Post && request.path != SYMBOLS_PATH {
            return Answer::Now(Response::text(Code::MethodNotAllowed, "expected GET or HEAD"));
        }
        Answer::Now(match request.path {
            path if path == self.metrics_path => metrics(status),
            "/" => self.index(),
            "/healthz" => Response::text(Code::Ok, "ok"),
            "/readyz" => match status.ready() {
                Ok(()) => Response::text(Code::Ok, "ready"),
                Err(reason) => Response::text(Code::Unavailable, reason),
            },
            "/debug/pprof" | "/debug/pprof/" => Response::text(Code::Ok, PPROF_INDEX.trim_end()),
            "/debug/pprof/profile" => match self.profile(request, ticket, now) {
                Ok(()) => return Answer::Later,
                Err(response) => response,
            },
            "/debug/pprof/heap" => Response::text(Code::NotImplemented, NO_HEAP_PROFILE),
            SYMBOLS_PATH => Response::text(Code::Ok, "num_symbols: 0"),
            _ => Response::text(Code::NotFound, "no such page; / lists what there is"),
        })
    }

    fn profile(&mut self, request: &Request<'_>, ticket: Ticket, now: Instant) -> Result<(), Response> {
        let seconds = number(request, "seconds", profile::SECONDS, profile::SECONDS_DEFAULT)?;
        let hz = number(request, "hz", profile::HZ, profile::HZ_DEFAULT)?;
        // A HEAD would take the whole profile and send nothing of it.
        if request.method == Method::Head {
            return Err(Response::text(Code::BadRequest, "expected GET for a profile"));
        }
        self.profiler.start(seconds, hz, ticket, now)
    }

    fn index(&self) -> Response {
        let metrics = &self.metrics_path;
        let links: String = [metrics, "/healthz", "/readyz", "/debug/pprof/"]
            .iter()
            .map(|path| format!("<li><a href=\"{path}\">{path}</a></li>\n"))
            .collect();
        let page = format!("<!doctype html>\n<title>xtcp2</title>\n<h1>xtcp2</h1>\n<ul>\n{links}</ul>\n");
        Response::content(HTML, page)
    }
}

fn metrics(status: &mut dyn Status) -> Response {
    let mut text = String::new();
    match status.render_metrics(&mut text) {
        Ok(()) => Response::content(OPEN_METRICS, text),
        Err(error) => Response::text(
            Code::InternalError,
            &format!("a metric cannot be written: {error}"),
        ),
    }
}

fn number(
    request: &Request<'_>,
    name: &str,
    range: RangeInclusive<u32>,
    default: u32,
) -> Result<u32, Response> {
    match request.parameter(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (low, high) = (range.start(), range.end());
                let error = format!("{name}: expected a whole number from {low} to {high}, got {text:?}");
                Response::text(Code::BadRequest, &error)
            }),
    }
}

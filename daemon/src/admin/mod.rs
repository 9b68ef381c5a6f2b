//! HTTP for operators: metrics, health, profiles. It lives in the daemon's own loop and never
//! blocks it, so that it answers while a poll runs.

mod client;
mod holder;
pub mod listen;
mod mappings;
mod pprof;
pub mod profile;
pub mod request;
pub mod response;
pub mod routes;
pub mod server;
#[cfg(test)]
mod tests;

use crate::epoll::{Epoll, Event, Source};
use listen::Listener;
use routes::{Routes, Status};
use server::{Counters, Server};
use std::{io, time::Instant};

/// The admin HTTP server with its pages.
#[derive(Debug)]
pub struct Admin {
    server: Server,
    routes: Routes,
}

impl Admin {
    /// Serves on `listener`, with the metrics under `metrics_path`.
    ///
    /// # Errors
    /// When epoll refuses the listener.
    pub fn new(listener: Listener, metrics_path: &str, epoll: &Epoll) -> io::Result<Admin> {
        Ok(Admin {
            server: Server::new(listener, epoll)?,
            routes: Routes::new(metrics_path),
        })
    }

    /// Acts on an event of [`Source::AdminListener`] or [`Source::AdminClient`].
    pub fn ready(&mut self, epoll: &Epoll, event: &Event, now: Instant, status: &mut dyn Status) {
        match event.token.source {
            Source::AdminListener => self.server.accept(epoll, now),
            _ => {
                let routes = &mut self.routes;
                self.server.ready(epoll, event, now, &mut |request, ticket| {
                    routes.answer(request, ticket, now, status)
                });
            }
        }
    }

    /// Takes no more connections. Clients are waited for in `epoll` from now on, another one than so far.
    pub fn stop_accepting(&mut self, epoll: &Epoll) {
        self.server.stop_accepting(epoll);
    }

    /// When [`Admin::expire`] is to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.server
            .deadline()
            .into_iter()
            .chain(self.routes.profiler.deadline())
            .min()
    }

    /// Does what is due: cuts off slow clients, ends a profile.
    pub fn expire(&mut self, epoll: &Epoll, now: Instant) {
        if let Some((ticket, profile)) = self.routes.profiler.finish(now) {
            self.server.complete(epoll, ticket, profile, now);
        }
        self.server.expire(epoll, now);
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.server.counters
    }

    /// Connections that are open.
    pub fn clients(&self) -> usize {
        self.server.clients()
    }

    /// Of those, the ones that wait for an answer, or are about to ask: not those kept between two requests.
    pub fn clients_to_answer(&self) -> usize {
        self.server.clients_to_answer()
    }
}

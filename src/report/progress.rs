//! The progress bar. Lives on standard error, and only on a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::input::Progress;

/// Time between two looks at the counters: smooth to the eye, free of cost.
const REFRESH: Duration = Duration::from_millis(100);

/// A bar that follows the input until it is dropped.
#[derive(Debug)]
pub struct Bar {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    pub fn start(progress: Arc<Progress>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let bar = ProgressBar::no_length();
            let mut measured = false;
            while !stopped.load(Ordering::Relaxed) {
                if !measured {
                    let total = progress.total_bytes();
                    measured = total.is_some();
                    if let Some(total) = total {
                        bar.set_length(total);
                    }
                    bar.set_style(style(measured));
                }
                bar.set_position(progress.read_bytes());
                let seconds = bar.elapsed().as_secs_f64().max(0.001);
                let rate = progress.packets() as f64 / seconds;
                bar.set_message(format!("{:.2} Mpkt/s", rate / 1e6));
                thread::sleep(REFRESH);
            }
            bar.finish_and_clear();
        });
        Self { stop, thread: Some(thread) }
    }
}

fn style(measured: bool) -> ProgressStyle {
    let template = if measured {
        "{bar:30} {percent:>3}% {bytes}/{total_bytes} {binary_bytes_per_sec} {msg} {eta} left"
    } else {
        "{spinner} {bytes} {binary_bytes_per_sec} {msg} {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread only draws; nothing is lost if it failed.
            let _ = thread.join();
        }
    }
}

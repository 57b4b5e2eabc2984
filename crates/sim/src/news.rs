//! What a command says while it works: a bar where somebody watches, else a line every so often.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two lines where no terminal shows a bar.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The news of one command.
pub struct News {
    title: String,
    bar: ProgressBar,
    begun: Instant,
    /// When the last line was written; none before the first, or where a bar is shown.
    told: Option<Instant>,
    lines: bool,
}

#[allow(clippy::disallowed_methods)] // who waits does so in real time
impl News {
    /// Begins.
    pub fn new(title: &str) -> News {
        let lines = !std::io::stderr().is_terminal();
        let target = if lines { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{prefix} {bar:30} {percent:>3} %  {msg}  {elapsed}");
        let bar = ProgressBar::with_draw_target(Some(1), target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix(title.to_owned());
        News { title: title.to_owned(), bar, begun: Instant::now(), told: None, lines }
    }

    /// How long it has been going on.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How far it is. The first time it is told at once.
    pub fn tell(&mut self, at: u64, whole: u64, said: impl Fn() -> String) {
        if !self.lines {
            self.bar.set_length(whole);
            self.bar.set_position(at.min(whole));
            self.bar.set_message(said());
            return;
        }
        if self.told.is_none_or(|told| told.elapsed() >= LINE_EVERY) {
            self.told = Some(Instant::now());
            let percent = 100 * at.min(whole) / whole.max(1);
            say(&format!("{}: {percent} %, {}, {:.0} s", self.title, said(), self.elapsed().as_secs_f64()));
        }
    }

    /// Writes something else meanwhile.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// A line for whoever reads the output. A reader that is gone needs none.
pub fn out(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// A line for whoever watches.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

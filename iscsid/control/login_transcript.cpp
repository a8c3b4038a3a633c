#include "control/login_transcript.hpp"

#include "control/about.hpp"
#include "control/managed_session.hpp"

#include <fmt/format.h>

namespace iscsi::control {

bool ToldFailures::is_news(std::string_view whose, std::string_view failure) {
    std::size_t of_it = 0;
    for (const Told& told : told_) {
        of_it += told.whose == whose ? 1 : 0;
        if (told.whose == whose && told.failure == failure) {
            return false;
        }
    }
    if (of_it == failures_max || told_.size() == all_max) {
        return false;
    }
    told_.push_back({std::string(whose), std::string(failure)});
    return true;
}

void ToldFailures::forget(std::string_view whose) {
    std::erase_if(told_, [&](const Told& told) { return told.whose == whose; });
}

bool wants_transcripts() {
    return log::enabled(log::Level::debug);
}

void tell_transcript(const log::About& about, std::string_view whose, ToldFailures& told,
                     const base::Error& failure, const std::vector<std::string>& lines) {
    const std::string words = failure.message();
    if (lines.empty() || !told.is_news(whose, words)) {
        return;
    }
    auto tell = [&](std::string_view line) {
        log::write(log::Level::debug, about, fmt::format("{}: {}", whose, line));
    };
    tell(fmt::format("transcript of the login that failed: {}", words));
    for (const std::string& line : lines) {
        tell(line);
    }
    tell("end of the transcript");
}

void tell_transcript(ManagedSession& session,
                     const tl::expected<shard::OpenReply, shard::OpenFailure>& outcome) {
    if (outcome) {
        session.told_failures.forget_all();
        return;
    }
    const shard::OpenFailure& failure = outcome.error();
    if (failure.error.code == base::Errc::redirected || !failure.at) {
        return;
    }
    tell_transcript(about(session),
                    fmt::format("session {} at {} port {}", session.sid, failure.at->text, failure.at->port),
                    session.told_failures, failure.error, failure.transcript);
}

} // namespace iscsi::control

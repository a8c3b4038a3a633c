// The debug log's transcripts of logins that failed: kept only at debug level, told once for each different
// failure. What is shown of a login, and what never is, is login/transcript's. Control's thread.
#pragma once

#include "base/error.hpp"
#include "control/log.hpp"
#include "shard/nexus.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::control {

/// What a transcript was told of. A recovery tries again all the time, and fails as before most times.
class ToldFailures {
public:
    /// Different ones of one that are told of until forget(): a target may make up a new one each time.
    static constexpr std::size_t failures_max = 8;
    /// Of all together: it may name another portal each time, too.
    static constexpr std::size_t all_max = 256;

    /// True once for each of the first failures_max of `whose`.
    bool is_news(std::string_view whose, std::string_view failure);
    /// Those of `whose`.
    void forget(std::string_view whose);
    void forget_all() { told_.clear(); }

private:
    struct Told {
        std::string whose;
        std::string failure;
    };
    std::vector<Told> told_;
};

/// Somebody will read a transcript: the log is at debug level.
bool wants_transcripts();

/// `whose` stands before each line; `about` is what they are about. Nothing when `lines` is empty, or
/// `failure` was told of.
void tell_transcript(const log::About& about, std::string_view whose, ToldFailures& told,
                     const base::Error& failure, const std::vector<std::string>& lines);

class ManagedSession;
/// Of a session's login, if it failed: a redirection has not. When it succeeded the next failure is new
/// again.
void tell_transcript(ManagedSession& session,
                     const tl::expected<shard::OpenReply, shard::OpenFailure>& outcome);

} // namespace iscsi::control

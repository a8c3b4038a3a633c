// `iscsiadm doctor`: walks the chain from this machine's name to a mounted file system and says of each step
// whether it holds, what is wrong and what to try. A target's chain ends where it breaks. It changes nothing
// and logs in to nothing, unless it is told to (-l); a discovery session is all that it has iscsid make, and
// only where no session lives. The steps are collected here; the files doctor_*.cpp take them. One thread.
#pragma once

#include "base/error.hpp"
#include "context.hpp"
#include "ipc/requests.hpp"
#include "records/record.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace iscsi::adm {

struct Step {
    enum class State : std::uint8_t { ok, wrong, unseen };

    std::string_view name; ///< "route"; its place in the chain is that of the call
    State state = State::ok;
    std::string what;                      ///< one line, safe to print
    std::string advice{};                  ///< what to try; may be empty
    base::Errc code = base::Errc::unknown; ///< of a wrong one
};

Step step_ok(std::string_view name, std::string what);
Step step_wrong(std::string_view name, base::Errc code, std::string what, std::string advice);
/// It could not be looked at: nothing is known of it, good or bad.
Step step_unseen(std::string_view name, std::string what, std::string advice = {});

/// What the steps have come to, told as they come: lines on stdout, or "steps" of the document.
class DoctorReport {
public:
    /// The steps from here on are this target's; a title before them.
    void begin(const records::NodeId& node);
    /// False when it is wrong: the chain ends.
    bool add(const Step& step);
    /// That of the first step that is wrong; 0 when none is.
    int exit_code() const { return exit_code_; }

private:
    std::optional<records::NodeId> node_;
    int exit_code_ = 0;
};

/// A target at a portal through an interface, and what is known of it.
struct Patient {
    records::Record node{records::RecordKind::node}; ///< made up where there is none
    bool recorded = false;
    std::optional<ipc::SessionSnapshot> session;
};

// ---- questions to iscsid (doctor_questions.cpp) ----

/// What it knows by itself it answers at once, or it hangs.
inline constexpr std::chrono::seconds answer_time{5};

/// The answer to one question. Errors: as Client::connect and Client::wait; request_timed_out when iscsid has
/// taken the question and not answered within that time.
base::Result<ipc::Reply> ask_in_time(const records::Paths& paths, const ipc::Request& request,
                                     std::chrono::seconds within);

// ---- the way to a portal (doctor_way.cpp) ----

/// Name, route and TCP connection, in this order; false when one is wrong.
bool look_at_way(DoctorReport& report, const Patient& patient);

// ---- a session (doctor_session.cpp) ----

/// Its connection, authentication and queues, and what it shows; false when one is wrong. A queue that is
/// lost does not end the chain: the others go on.
bool look_at_session(DoctorReport& report, const ipc::SessionSnapshot& session);

// ---- what a session shows (doctor_devices.cpp) ----

/// Logical units, devices, links and mounts; false when one is wrong.
bool look_at_devices(DoctorReport& report, const ipc::SessionSnapshot& session);

/// "LUN 1: `what`"
std::string named(const ipc::AttachedLun& lun, std::string_view what);
/// "259:3"
std::string number_of(dev_t device);

// ---- what is mounted (doctor_mounts.cpp) ----

/// `numbers`: of the unit's device, its partitions and what stands on them, as number_of() writes them.
Step look_at_mounts(const ipc::AttachedLun& lun, const std::set<std::string>& numbers);

} // namespace iscsi::adm

#include "control/discovery_watch.hpp"

#include "base/limits.hpp"
#include "control/about.hpp"
#include "control/settings.hpp"
#include "records/fields.hpp"
#include "ring/aside.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;
using std::chrono::seconds;

constexpr base::Duration poll_default = seconds(30);
/// After something that could not be done.
constexpr base::Duration again_pause = seconds(30);
/// A server that reports many changes is asked once for all of them.
constexpr base::Duration burst_time = std::chrono::milliseconds(500);

/// There is a server, and no registration: it would not, or there is no port to hear it at.
bool is_refusal(const base::Result<void>& registered) {
    return !registered && (registered.error().code == base::Errc::isns_registration ||
                           registered.error().code == base::Errc::internal);
}

} // namespace

DiscoveryWatch::DiscoveryWatch(DiscoveryHost& host, records::Store store, std::string config_file,
                               records::Record discovery)
    : host_(host), store_(std::move(store)), config_file_(std::move(config_file)),
      discovery_(std::move(discovery)),
      title_(fmt::format("{} {}", is_isns() ? "iSNS server" : "discovery address",
                         records::address_port(records::discovery_portal(discovery_)))),
      again_(ring::Timer::to<&DiscoveryWatch::on_again>(host.loop().timers(), this)) {
    if (is_isns()) {
        registration_ = std::make_unique<IsnsRegistration>(
            host_.loop(), records::discovery_portal(discovery_), [this] { wake_.set(); });
    }
}

ring::Task<void> DiscoveryWatch::run() {
    log::event(about_portal(records::discovery_portal(discovery_), ipc::Event::discovery_started),
               "{}: watched from now on", title_);
    while (!ending_.is_set()) {
        wake_.reset();
        again_.disarm();
        const bool looked = co_await look();
        if (ending_.is_set()) {
            break;
        }
        ring::EventOrDeadline pause(host_.loop(), wake_, next_look(looked));
        co_await pause;
        const base::TimePoint burst_end = host_.loop().now() + burst_time;
        ring::EventOrDeadline burst(host_.loop(), ending_, burst_end);
        co_await burst;
    }
    again_.disarm();
    if (registration_) {
        co_await registration_->end();
    }
    co_await logins_.join();
    log::event(about_portal(records::discovery_portal(discovery_), ipc::Event::discovery_ended),
               "{}: not watched any more", title_);
}

void DiscoveryWatch::change(records::Record discovery) {
    discovery_ = std::move(discovery);
    wake_.set();
}

void DiscoveryWatch::end() {
    ending_.set();
    ended_.set();
    wake_.set();
    if (registration_) {
        registration_->interrupt();
    }
}

/// Between two looks: of the record, or empty when nothing but news makes one.
std::optional<base::Duration> DiscoveryWatch::poll_interval() const {
    const std::int64_t interval =
        discovery_.number(is_isns() ? Key::isns_poll_interval : Key::discovery_poll_interval);
    // Whom a server tells nothing has to ask.
    const bool hears_nothing = registration_ && !registration_->is_told_of_changes();
    if (interval > 0) {
        return seconds(interval);
    }
    return hears_nothing || (!is_isns() && interval < 0) ? std::optional(base::Duration(poll_default))
                                                         : std::nullopt;
}

base::Deadline DiscoveryWatch::next_look(bool looked) const {
    const auto now = host_.loop().now();
    const auto interval = poll_interval();
    if (!looked) {
        // What is due stays so until the server answers, and would have it asked without a pause.
        return now + std::min(interval.value_or(again_pause), again_pause);
    }
    base::Deadline next;
    if (interval) {
        next = now + *interval;
    }
    if (registration_) {
        next = base::earliest(next, registration_->due());
    }
    return base::earliest(next, absences_.due());
}

void DiscoveryWatch::look_again_soon() {
    if (!again_.armed() && !ending_.is_set()) {
        again_.arm(host_.loop().now() + again_pause);
    }
}

void DiscoveryWatch::say_failure(const std::string& why) {
    if (failure_ != why) {
        log::event(about_portal(records::discovery_portal(discovery_), ipc::Event::discovery_failed),
                   "{}: {}", title_, why);
    }
    failure_ = why;
}

/// True when the portal answered and its answer is in the database.
ring::Task<bool> DiscoveryWatch::look() {
    auto looked = co_await try_to_look();
    if (looked && !std::exchange(failure_, {}).empty()) {
        log::event(about_portal(records::discovery_portal(discovery_), ipc::Event::discovery_answers),
                   "{}: answers again", title_);
    }
    if (!looked && !ending_.is_set()) {
        say_failure(looked.error().message());
    }
    co_return looked.has_value();
}

ring::Task<base::Result<void>> DiscoveryWatch::try_to_look() {
    auto reading = [this] { return read_settings(); };
    ring::Aside read(host_.loop(), reading);
    auto settings = co_await read;
    if (!settings) {
        co_return base::fail(std::move(settings.error()));
    }
    if (ending_.is_set()) {
        co_return base::fail(base::Errc::cancelled);
    }
    auto kept = co_await keep_registered(*settings);
    if (!kept && !is_refusal(kept)) {
        co_return kept;
    }
    note_registration(kept);
    auto update = co_await ask_all(*settings);
    if (!update) {
        co_return base::fail(std::move(update.error()));
    }
    if (ending_.is_set()) {
        co_return base::fail(base::Errc::cancelled);
    }
    auto outcome = co_await bring_in(*update, *settings);
    if (!outcome) {
        co_return base::fail(std::move(outcome.error()));
    }
    begin_logins(std::move(outcome->fresh));
    co_return base::Result<void>();
}

base::Result<DiscoveryWatch::Settings> DiscoveryWatch::read_settings() const {
    records::Warnings ignored; // iscsiadm says them
    auto ifaces = store_.discovery_ifaces(ignored);
    auto config = records::read_config(config_file_, ignored);
    if (!ifaces || !config) {
        return base::fail(ifaces ? std::move(config.error()) : std::move(ifaces.error()));
    }
    return Settings{std::move(*ifaces), std::move(*config)};
}

ring::Task<base::Result<void>> DiscoveryWatch::keep_registered(const Settings& settings) {
    if (!registration_) {
        co_return base::Result<void>();
    }
    std::vector<std::string> names;
    for (const records::Record& iface : settings.ifaces) {
        auto self = initiator_of(iface, host_.initiator());
        if (!self) {
            co_return base::fail(std::move(self.error()));
        }
        if (std::ranges::find(names, self->name) == names.end()) {
            names.push_back(std::move(self->name));
        }
    }
    co_return co_await registration_->keep(std::move(names), host_.initiator().alias);
}

/// Who is not registered may see targets all the same, when it asks.
void DiscoveryWatch::note_registration(const base::Result<void>& registered) {
    const std::string why = registered ? std::string() : registered.error().message();
    if (std::exchange(refusal_, why) != why && !registered) {
        log::warning(
            "{}: it does not register {}: {}; so it reports no changes, and is asked every {} s; its "
            "administrator can allow that name to register",
            title_, host_.initiator().name, why,
            std::chrono::duration_cast<seconds>(poll_interval().value_or(poll_default)).count());
    }
}

ring::Task<base::Result<records::DiscoveryUpdate>> DiscoveryWatch::ask_all(const Settings& settings) {
    base::Result<records::DiscoveryUpdate> all = records::DiscoveryUpdate();
    records::DiscoveryUpdate& update = *all;
    const records::Record discovery = discovery_; // which may be changed meanwhile
    update.kind = discovery.kind();
    update.source = records::discovery_portal(discovery);
    update.ifaces = settings.ifaces;
    update.all_answered = true; // or this is not reached
    std::string rejected;
    for (const records::Record& iface : settings.ifaces) {
        auto targets = co_await host_.ask(discovery, iface, ended_);
        if (!targets) {
            co_return base::fail(std::move(targets.error()));
        }
        if (update.found.size() + targets->portals.size() > base::limits::watched_portals_max) {
            co_return base::fail(base::Errc::protocol,
                                 fmt::format("the answer lists more than the {} portals that are watched",
                                             base::limits::watched_portals_max));
        }
        for (const base::DiscoveredPortal& portal : targets->portals) {
            records::FoundPortal found;
            found.target = portal.target_name;
            found.portal = records::Portal{portal.address, portal.port, portal.tpgt};
            found.iface = iface.text(Key::iface_name);
            update.found.push_back(std::move(found));
        }
        for (const std::string& entry : targets->rejected) {
            rejected += fmt::format("{}{}", rejected.empty() ? "" : "; ", entry);
        }
    }
    if (std::exchange(rejected_, rejected) != rejected && !rejected.empty()) {
        log::warning("{}: left out: {}", title_, rejected);
    }
    co_return all;
}

/// What there was at the last answer and was logged in to, or is being.
std::set<std::string> DiscoveryWatch::settled() const {
    std::set<std::string> settled = known_;
    for (const std::string& failed : failed_) {
        settled.erase(failed);
    }
    return settled;
}

void DiscoveryWatch::begin_logins(std::vector<records::Record> fresh) {
    for (records::Record& node : fresh) {
        failed_.erase(portal_key(records::node_id(node)));
        to_log_in_.push_back(std::move(node));
    }
    // Each takes one from the queue as it begins, unless all is over.
    while (!to_log_in_.empty() && !ending_.is_set() && log_in_tasks_ < base::limits::watched_logins_max) {
        ++log_in_tasks_;
        logins_.spawn(log_in_to_all());
    }
}

/// One of several, until there is nothing left to log in to.
ring::Task<void> DiscoveryWatch::log_in_to_all() {
    while (!to_log_in_.empty() && !ending_.is_set()) {
        records::Record node = std::move(to_log_in_.front());
        to_log_in_.pop_front();
        co_await log_in(std::move(node));
    }
    --log_in_tasks_;
}

ring::Task<void> DiscoveryWatch::log_in(records::Record node) {
    const records::NodeId id = records::node_id(node);
    const auto present = static_cast<std::int64_t>(host_.count_sessions(id));
    const std::int64_t wanted = node.number(Key::session_nr_sessions);
    for (std::int64_t i = present; i < wanted && !ending_.is_set(); ++i) {
        auto begun = co_await host_.begin_session(node, wanted > 1);
        if (!begun && begun.error().code != base::Errc::session_exists) {
            failed_.insert(portal_key(id));
            look_again_soon();
            co_return;
        }
    }
}

} // namespace iscsi::control

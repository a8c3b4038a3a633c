// The kernel is told of new sizes: one at a time, and not again what it has refused.
#include "control/resize.hpp"

#include "control/log_lines.hpp"
#include "control/session_scene.hpp"

using namespace iscsi;
using control::ManagedSession;
using control::resize_devices;
using control::ServedLun;

namespace {

/// A kernel device whose new size takes until the test says so.
class SlowDevice final : public block::BlockDevice {
public:
    const std::string& name() const override { return name_; }
    const std::string& path() const override { return name_; }
    const std::string& uri() const override { return name_; }
    const std::vector<std::string>& links() const override { return links_; }
    base::Result<std::unique_ptr<block::BlockQueue>> make_queue(const block::QueueContext&) override {
        return base::fail(base::Errc::not_supported);
    }
    ring::Task<base::Result<void>> start() override { co_return base::Result<void>(); }
    ring::Task<base::Result<void>> remove() override { co_return base::Result<void>(); }
    bool outlives_daemon() const override { return true; }
    ring::Task<base::Result<void>> resize(block::Attributes attributes) override {
        asked.push_back(attributes.size_bytes);
        most_at_once = std::max(most_at_once, ++at_once);
        go_on.reset();
        co_await go_on;
        --at_once;
        if (answer) {
            co_return base::fail(*answer, "no new size");
        }
        co_return base::Result<void>();
    }

    std::vector<std::uint64_t> asked;
    ring::Event go_on;
    std::optional<base::Errc> answer;
    int at_once = 0;
    int most_at_once = 0;

private:
    std::string name_ = "nowhere";
    std::vector<std::string> links_;
};

struct Scene : test::SessionScene {
    Scene() {
        session->state = ManagedSession::State::running;
        auto made = std::make_unique<SlowDevice>();
        device = made.get();
        served->device = std::move(made);
        session->luns.push_back(served);
    }
    ~Scene() { CHECK(procedures.empty()); }
    Scene(const Scene&) = delete;
    Scene& operator=(const Scene&) = delete;

    void resize(std::uint64_t bytes) {
        block::Attributes attributes;
        attributes.size_bytes = bytes;
        served->resize_later = attributes;
        procedures.spawn(resize_devices(*session));
    }

    std::shared_ptr<ServedLun> served = std::make_shared<ServedLun>();
    SlowDevice* device = nullptr;
    ring::TaskGroup procedures;
};

using Sizes = std::vector<std::uint64_t>;

} // namespace

TEST_CASE("sizes that change while the kernel is told of one follow it: the last one counts") {
    Scene scene;
    scene.resize(4096);
    scene.resize(8192);
    scene.resize(16384);
    CHECK(scene.session->resizing);
    CHECK(scene.device->asked == Sizes{4096});
    scene.device->go_on.set();
    CHECK(scene.device->asked == Sizes{4096, 16384});
    scene.device->go_on.set();
    CHECK(scene.device->most_at_once == 1);
    CHECK_FALSE(scene.session->resizing);
}

TEST_CASE("a size that the kernel does not take is said once, and not asked for again if it never will") {
    const bool for_good = GENERATE(true, false);
    Scene scene;
    test::LogLines log;
    scene.device->answer = for_good ? base::Errc::not_supported : base::Errc::internal;
    for (int look = 0; look < 5; ++look) {
        scene.resize(4096);
        scene.device->go_on.set();
    }
    CHECK(scene.device->asked.size() == (for_good ? 1 : 5));
    CHECK(log.with("no new size").size() == 1);
    scene.resize(8192);
    scene.device->go_on.set();
    CHECK(scene.device->asked.back() == 8192);
    CHECK(log.with("no new size").size() == 2);
}

TEST_CASE("sizes wait for the path, and a login is time enough for them") {
    using State = ManagedSession::State;
    Scene scene;
    scene.session->state = State::recovering;
    scene.resize(4096);
    CHECK(scene.device->asked.empty());
    CHECK_FALSE(scene.session->resizing);
    scene.session->state = GENERATE(State::running, State::logging_in);
    scene.procedures.spawn(resize_devices(*scene.session));
    CHECK(scene.device->asked == Sizes{4096});
    scene.device->go_on.set();
}

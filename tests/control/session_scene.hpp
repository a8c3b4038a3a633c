// A session as control has it, without a nexus, and an ear that keeps what it hears. The scene owns both; one
// thread.
#pragma once

#include "control/managed_session.hpp"
#include "records/fields.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <utility>
#include <vector>

namespace iscsi::test {

class SessionEar final : public control::ManagedSession::Listener {
public:
    void on_session_dropped(control::ManagedSession&, const base::Error&) override {}
    void on_lun_news(control::ManagedSession&, base::Lun lun, const scsi::Disposition& told) override {
        luns.push_back(lun);
        news.push_back(told);
    }
    void on_news_missed(control::ManagedSession&) override { ++missed; }

    std::vector<base::Lun> luns;
    std::vector<scsi::Disposition> news;
    int missed = 0;
};

struct SessionScene {
    static records::Record some_node() {
        records::Record node(records::RecordKind::node);
        REQUIRE(node.set(records::Key::node_name, "iqn.2026-01.example:disk"));
        REQUIRE(node.set(records::Key::conn_address, "127.0.0.1"));
        return node;
    }

    explicit SessionScene(const records::Record& node = some_node()) {
        shard::ShardConfig config;
        config.pool_bytes = 1 << 20;
        auto started = shard::Shard::start(config);
        REQUIRE(started);
        shard = std::move(*started);
        session = std::make_unique<control::ManagedSession>(ear, 1, node, *shard);
    }

    SessionEar ear;
    std::unique_ptr<shard::Shard> shard;
    std::unique_ptr<control::ManagedSession> session;
};

} // namespace iscsi::test

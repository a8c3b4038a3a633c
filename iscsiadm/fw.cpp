// Targets that the machine's firmware names: mode fw prints them or logs in to them, a discovery of type fw
// makes node records of them.
#include "actions.hpp"
#include "boot_firmware.hpp"
#include "boot_records.hpp"
#include "client.hpp"
#include "context.hpp"
#include "json_output.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"

#include <algorithm>

namespace iscsi::adm {
namespace {

int none_found(const Context& context, const BootTargets& targets) {
    const base::Errc code = no_boot_firmware(context.store.paths().root());
    const std::string why = targets.unusable.empty() ? "." : fmt::format(": {}.", text_of_unusable(targets));
    complain("Could not get list of targets from firmware{} (err {})", why, exit_of(code));
    return exit_of(code);
}

/// A table that has also what cannot be used: the rest is.
void complain_of_rest(const BootTargets& targets) {
    if (!targets.unusable.empty()) {
        complain("Not every target of the firmware can be used: {}.", text_of_unusable(targets));
    }
}

base::Result<records::Record> node_template(const Context& context) {
    records::Warnings warnings;
    auto config = context.store.config(warnings);
    note_all(warnings);
    return config.map([](records::Config& read) { return std::move(read.node); });
}

int print(const BootTargets& targets) {
    for (const BootTarget& target : targets.usable) {
        ipc::Json entry = json_of(boot_node_id(target));
        entry["values"] = boot_record_json(target);
        add_json("nodes", std::move(entry));
        say(boot_record_text(target).text());
    }
    return exit_ok;
}

/// -m fw -l: nothing is stored.
int log_in_unstored(const Context& context, const BootTargets& targets) {
    auto over = node_template(context);
    if (!over) {
        return complain_of(over.error());
    }
    LoginOrder order;
    order.boots = true;
    for (const BootTarget& target : targets.usable) {
        auto node = make_boot_node(target, *over);
        auto done = node ? prepare_for_boot(*node) : base::fail(node.error());
        if (!done) {
            return complain_of(done.error());
        }
        if (auto merged = set_parameters(*node, context.options.values); !merged) {
            complain_lines(merged.error().message());
            complain("Could not merge user params");
            return exit_of(merged.error().code);
        }
        order.nodes.push_back(std::move(*node));
    }
    return log_in(context, order);
}

/// Finds the target's record whatever its group tag is: a discovery may have learned another one.
records::NodeId id_in_store(const BootTarget& target) {
    records::NodeId id = boot_node_id(target);
    id.portal.tpgt = records::tpgt_unknown;
    return id;
}

/// Whether a record is the target's: the tag, and how the address is written, are not what tells.
bool is_record_of(const BootTarget& target, const records::NodeId& id) {
    const records::NodeId own = boot_node_id(target);
    return records::NodeFilter{own.target, own.portal, own.iface, {}}.matches(id);
}

/// Made anew where a record is, it keeps the tag that is known of its portal.
base::Result<records::Record> make_stored_node(const BootTarget& target, const records::Record& over,
                                               std::int32_t tag) {
    auto node = make_boot_node(target, over);
    if (node && tag != records::tpgt_unknown) {
        if (auto set = node->set(records::Key::node_tpgt, std::to_string(tag)); !set) {
            return base::fail(std::move(set.error()));
        }
    }
    return node;
}

/// A record that is there keeps what people set, unless discoveries are to overwrite.
base::Result<void> store_target(const Context& context, const BootTarget& target,
                                const records::Config& config) {
    const unsigned ops = context.options.ops;
    const bool overwrites = config.daemon.text(records::Key::daemon_rediscovery) == "overwrite";
    records::Warnings warnings;
    const auto known = context.store.node(id_in_store(target), warnings);
    const bool is_there = known.has_value();
    if (ops != 0 && (ops & (is_there ? op_update : op_new)) == 0) {
        return {};
    }
    if (is_there && !overwrites) {
        return context.store.update_node(
            records::node_id(*known), [&](records::Record& node) { return set_from_firmware(target, node); });
    }
    const std::int32_t tag = is_there ? records::node_id(*known).portal.tpgt : records::tpgt_unknown;
    auto node = make_stored_node(target, config.node, tag);
    auto written = node ? context.store.write_node(*node) : base::fail(node.error());
    return written.map([](const records::NodeId&) {});
}

/// Records of the firmware's that it does not name any more.
base::Result<void> remove_others(const Context& context, const BootTargets& targets) {
    auto stored = context.store.undiscovered("fw");
    auto sessions = fetch_sessions(context.store.paths());
    if (!stored || !sessions) {
        return base::fail(stored ? sessions.error() : stored.error());
    }
    const records::InUse in_use = in_use_of(*sessions);
    for (const records::NodeId& id : *stored) {
        const bool is_named = std::ranges::any_of(
            targets.usable, [&](const BootTarget& target) { return is_record_of(target, id); });
        if (is_named || in_use(id)) {
            continue;
        }
        if (auto removed = context.store.remove_node(id);
            !removed && removed.error().code != base::Errc::not_found) {
            return removed;
        }
    }
    return {};
}

base::Result<void> store_targets(const Context& context, const BootTargets& targets) {
    records::Warnings warnings;
    auto config = context.store.config(warnings);
    note_all(warnings);
    if (!config) {
        return base::fail(config.error());
    }
    for (const BootTarget& target : targets.usable) {
        if (auto stored = store_target(context, target, *config); !stored) {
            return stored;
        }
    }
    const unsigned ops = context.options.ops;
    return ops == 0 || (ops & op_delete) != 0 ? remove_others(context, targets) : base::Result<void>();
}

/// -l after a discovery: with the records as they are stored, or would be.
int log_in_found(const Context& context, const BootTargets& targets, bool stored) {
    auto over = node_template(context);
    if (!over) {
        return complain_of(over.error());
    }
    LoginOrder order;
    order.boots = true;
    records::Warnings warnings;
    for (const BootTarget& target : targets.usable) {
        auto node =
            stored ? context.store.node(id_in_store(target), warnings) : make_boot_node(target, *over);
        if (!node) {
            return complain_of(node.error());
        }
        order.nodes.push_back(std::move(*node));
    }
    return log_in(context, order);
}

int discover_fw(const Context& context, const BootTargets& targets) {
    const bool persistent = (context.options.ops & op_nonpersistent) == 0;
    if (persistent) {
        if (auto stored = store_targets(context, targets); !stored) {
            return complain_of(stored.error());
        }
    }
    std::vector<records::NodeId> found;
    for (const BootTarget& target : targets.usable) {
        found.push_back(boot_node_id(target));
        add_json("found", json_of(found.back()));
    }
    say(context.options.print_level > 0 ? found_sequence(found) : found_list(found));
    return context.options.login ? log_in_found(context, targets, persistent) : exit_ok;
}

} // namespace

int run_fw(const Context& context) {
    const BootTargets targets = read_boot_firmware(context.store.paths().root());
    if (targets.usable.empty()) {
        return none_found(context, targets);
    }
    if (context.options.mode != Mode::fw && !targets.unusable.empty()) {
        complain("Nothing is stored, because not every target of the firmware can be used: {}.",
                 text_of_unusable(targets));
        return exit_of(base::Errc::invalid);
    }
    complain_of_rest(targets);
    if (context.options.mode != Mode::fw) {
        return discover_fw(context, targets);
    }
    return context.options.login ? log_in_unstored(context, targets) : print(targets);
}

} // namespace iscsi::adm

// Many node records changed as one: what takes long is to wait for the disk, and most file systems make all
// that was changed durable with the first of many fsync(). So everything of a kind is done for all records,
// then synced, then the next; the order of the kinds is that of a change of one record (store_change.cpp).
#include "records/store_database.hpp"

#include <algorithm>
#include <set>
#include <thread>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

bool moves(const NodeWrite& write) {
    return write.old && path_of(write.old->place) != path_of(own_place(node_id(write.node)));
}

/// The record goes to a place where the file system and readers take it for one.
Result<void> check_place(const NodeWrite& write) {
    return !write.old || moves(write) ? check_node_id(node_id(write.node)) : Result<void>();
}

std::vector<std::string> note_of(const std::vector<NodeWrite>& writes) {
    std::vector<std::string> texts;
    texts.reserve(writes.size());
    for (const NodeWrite& write : writes) {
        texts.push_back(note_text(path_of(own_place(node_id(write.node))),
                                  moves(write) ? path_of(write.old->place) : std::string()));
    }
    return texts;
}

/// True when what becomes of one has nothing to do with what becomes of another.
bool are_apart(const std::vector<NodeWrite>& writes) {
    std::set<std::string> paths;
    return std::ranges::all_of(writes, [&](const NodeWrite& write) {
        return paths.insert(path_of(own_place(node_id(write.node)))).second &&
               (!moves(write) || paths.insert(path_of(write.old->place)).second);
    });
}

/// `change` of each, as long as it works.
template <class Item, class OneChange>
Result<void> for_all(const std::vector<Item>& items, const OneChange& change) {
    Result<void> done;
    for (const Item& item : items) {
        if (done) {
            done = change(item);
        }
    }
    return done;
}

} // namespace

Result<void> Database::together(const std::function<Result<void>()>& changes) const {
    Syncs syncs;
    syncs_ = &syncs;
    Result<void> done = changes();
    syncs_ = nullptr;
    Result<void> synced = syncs.flush();
    return done ? synced : done;
}

std::vector<Result<void>> Database::write_many(const std::vector<NodeWrite>& writes) const {
    if (writes.size() == 1) {
        Result<NodePlace> written = write(writes[0].node, writes[0].old);
        return {written ? Result<void>() : fail(written.error())};
    }
    if (writes.size() > 1 && are_apart(writes) && write_all(writes)) {
        return std::vector<Result<void>>(writes.size());
    }
    std::vector<Result<void>> outcomes;
    outcomes.reserve(writes.size());
    for (const NodeWrite& write : writes) {
        outcomes.push_back(write_again(write));
    }
    return outcomes;
}

Result<void> Database::write_all(const std::vector<NodeWrite>& writes) const {
    Result<void> done = for_all(writes, check_place);
    return done ? stage("nodes", [&](const Directory& staging) { return write_staged(writes, staging); })
                : done;
}

/// Content first, before anything has changed: when the disk is full nothing has.
Result<void> Database::write_staged(const std::vector<NodeWrite>& writes, const Directory& staging) const {
    std::vector<StagedFile> files;
    files.reserve(writes.size());
    for (const NodeWrite& write : writes) {
        Result<StagedFile> file = staging.stage(file_text(write.node));
        if (!file) {
            return fail(file.error());
        }
        files.push_back(std::move(*file));
    }
    for (const StagedFile& file : files) {
        file.start_sync();
    }
    Result<void> done;
    for (StagedFile& file : files) {
        done = done ? file.sync() : done;
    }
    return done ? all_noted(note_of(writes), [&] { return write_steps(writes, std::move(files)); }) : done;
}

Result<void> Database::write_steps(const std::vector<NodeWrite>& writes,
                                   std::vector<StagedFile> files) const {
    Result<void> done = put_steps(writes, std::move(files));
    if (!done) {
        undo_all(writes);
        return done;
    }
    return for_all(writes,
                   [&](const NodeWrite& write) { return remove_flat_twin(own_place(node_id(write.node))); });
}

Result<void> Database::put_steps(const std::vector<NodeWrite>& writes, std::vector<StagedFile> files) const {
    Result<void> done = together([&] {
        return for_all(writes, [&](const NodeWrite& write) {
            bool loses_link = write.old && (moves(write) || !keeps_link(*write.old, write.node));
            return loses_link ? unlink(write.old->record, write.old->place) : Result<void>();
        });
    });
    auto file = files.begin();
    auto put_file = [&](const NodeWrite& write) -> Result<void> {
        NodePlace place = own_place(node_id(write.node));
        Result<Directory> directory = made({"nodes", place.target, directory_of(place)});
        return directory ? directory->take(std::move(*file++), file_of(place)) : fail(directory.error());
    };
    auto put_link = [&](const NodeWrite& write) { return link(write.node, own_place(node_id(write.node))); };
    auto leave_old = [&](const NodeWrite& write) {
        return moves(write) ? take_file_away(write.old->place) : Result<void>();
    };
    done = done ? together([&] { return for_all(writes, put_file); }) : done;
    done = done ? together([&] { return for_all(writes, put_link); }) : done;
    return done ? together([&] { return for_all(writes, leave_old); }) : done;
}

/// What is new goes again, so that to settle the batch needs no space: a disk that is full has none for the
/// links. The links go first, as take_away() has it. A record that changed in its place is settled forwards.
void Database::undo_all(const std::vector<NodeWrite>& writes) const {
    std::vector<const NodeWrite*> undone;
    Warnings ignored;
    for (const NodeWrite& write : writes) {
        if (!write.old || (moves(write) && read(write.old->place, ignored))) {
            undone.push_back(&write);
        }
    }
    static_cast<void>(together([&] {
        return for_all(undone, [&](const NodeWrite* write) {
            return unlink(write->node, own_place(node_id(write->node)));
        });
    }));
    static_cast<void>(together([&] {
        for (const NodeWrite* write : undone) {
            undo(write->node, own_place(node_id(write->node)), write->old);
        }
        return Result<void>();
    }));
}

/// Writes by itself what may have been written already.
Result<void> Database::write_again(const NodeWrite& write) const {
    Warnings ignored;
    std::optional<StoredNode> old;
    for (const NodePlace& place :
         {write.old ? write.old->place : NodePlace(), own_place(node_id(write.node))}) {
        Result<Record> present = old || place.target.empty() ? fail(Errc::not_found) : read(place, ignored);
        if (present) {
            old = StoredNode{place, std::move(*present)};
        }
    }
    Result<NodePlace> written = this->write(write.node, old);
    return written ? Result<void>() : fail(written.error());
}

std::vector<Result<void>> Database::remove_many(const std::vector<NodePlace>& places,
                                                const InUse& in_use) const {
    auto is_used = [&](const NodePlace& place) { return in_use && in_use(place.id); };
    std::vector<Result<void>> outcomes(places.size());
    std::vector<std::optional<Record>> records(places.size()); // to be put back
    std::vector<NodePlace> going;
    for (std::size_t i = 0; i < places.size(); ++i) {
        Warnings ignored;
        Result<Record> record = in_use ? read(places[i], ignored) : fail(Errc::not_found);
        if (is_used(places[i])) {
            outcomes[i] = fail(Errc::session_exists);
            continue;
        }
        records[i] = record ? std::optional(std::move(*record)) : std::nullopt;
        going.push_back(places[i]);
    }
    const bool all_gone = going.size() > 1 && remove_all(going);
    for (std::size_t i = 0; i < places.size(); ++i) {
        if (!outcomes[i]) {
            continue;
        }
        outcomes[i] = all_gone            ? Result<void>()
                      : going.size() == 1 ? remove(places[i])
                                          : remove_again(places[i]);
        if (outcomes[i] && records[i] && is_used(places[i])) {
            outcomes[i] = fail(Errc::session_exists);
            if (Result<void> back = put_back(*records[i]); !back) {
                outcomes[i] = std::move(back);
            }
        }
    }
    return outcomes;
}

/// Also where no note can be made, as the removal was: the worst that a crash leaves is a missing link.
Result<void> Database::put_back(const Record& node) const {
    const Result<NodePlace> written = write(node, std::nullopt);
    return written ? Result<void>() : put(node, own_place(node_id(node)));
}

/// The links first, as take_away() has it.
Result<void> Database::remove_all(const std::vector<NodePlace>& places) const {
    std::vector<std::string> texts;
    texts.reserve(places.size());
    for (const NodePlace& place : places) {
        texts.push_back(path_of(place));
    }
    auto links = [&] {
        return for_all(places, [&](const NodePlace& place) { return take_link_away(place); });
    };
    auto files = [&] {
        return for_all(places, [&](const NodePlace& place) { return take_file_away(place); });
    };
    return all_removals_noted(texts, [&] {
        Result<void> done = together(links);
        return done ? together(files) : done;
    });
}

/// Removes by itself what may be gone already.
Result<void> Database::remove_again(const NodePlace& place) const {
    Result<void> done = remove(place);
    return !done && done.error().code == Errc::not_found ? Result<void>() : done;
}

// Those who wait look every hundredth of a second (store_lock.cpp). Without a pause they would have to look
// in the very moment between two batches.
Result<void> in_batches(const Access& access, std::size_t count,
                        const std::function<Result<void>(const Database&, std::size_t, std::size_t)>& batch,
                        const std::function<void()>& unlocked) {
    using Clock = std::chrono::steady_clock;
    constexpr std::chrono::milliseconds own_turn{500};
    constexpr std::chrono::milliseconds turn_of_others{12};
    Clock::time_point turn_began = Clock::now();
    Result<void> done;
    for (std::size_t begin = 0; done && begin < count; begin += batch_records_max) {
        if (Clock::now() - turn_began > own_turn) {
            std::this_thread::sleep_for(turn_of_others);
            turn_began = Clock::now();
        }
        {
            Result<Database> database = Database::open_to_write(access.paths, access.lock_wait);
            done = database ? batch(*database, begin, std::min(begin + batch_records_max, count))
                            : fail(database.error());
        }
        if (unlocked) {
            unlocked();
        }
    }
    return done;
}

} // namespace iscsi::records

#include "records/store_database.hpp"

#include "base/check.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>
#include <system_error>
#include <unistd.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

// A symbolic link holds the note, because it is made with its text in one step. That of a change within
// another has a name of its own.
constexpr std::string_view note_names[] = {".change", ".change.1"};
// A file that notes a batch, which has no change within: one line for each record.
constexpr std::string_view batch_note_name = ".changes";
// Where files are staged for a directory below the root that is of another file system.
constexpr std::string_view staging_name = ".new";
constexpr std::string_view tops[] = {"nodes", "send_targets", "isns", "static", "fw", "ifaces"};
constexpr std::string_view separator = "//"; // stands in no path below the root

/// The parts of "nodes/<target>/<portal>[/<iface>]"; empty when it is no such path.
std::optional<NodePlace> parse_node_path(std::string_view path) {
    std::vector<std::string_view> parts = base::split(path, '/');
    bool flat = parts.size() == 3;
    if ((!flat && parts.size() != 4) || parts[0] != "nodes" ||
        !std::ranges::all_of(parts,
                             [](std::string_view part) { return check_file_name(part).has_value(); })) {
        return std::nullopt;
    }
    Result<Portal> portal = parse_portal_file_name(parts[2]);
    if (!portal || flat != (portal->tpgt == tpgt_unknown)) {
        return std::nullopt;
    }
    std::string target(parts[1]);
    std::string iface(flat ? std::string_view() : parts[3]);
    return NodePlace{target, std::string(parts[2]), iface, {target, *portal, iface}, flat};
}

/// Errc::not_supported when `place` is read-only.
Result<void> make_note(const Directory& place, std::string_view name, const std::string& text) {
    if (place.read_link(name)) {
        ::unlinkat(place.fd(), name.data(), 0); // settled, though not removed
    }
    if (::symlinkat(text.c_str(), place.fd(), name.data()) != 0) {
        int error_number = errno;
        std::string why = error_number == EEXIST
                              ? "not a file of the record database; remove it"
                              : std::error_code(error_number, std::generic_category()).message();
        return fail(error_number == EROFS ? Errc::not_supported : Errc::database,
                    fmt::format("{}/{}: {}", place.path(), name, why));
    }
    Result<void> synced = place.sync();
    if (!synced) {
        ::unlinkat(place.fd(), name.data(), 0);
    }
    return synced;
}

/// Removes what a crash left staged in it.
void clear_staged(const Directory& directory) {
    for (const std::string& name : directory.staged()) {
        ::unlinkat(directory.fd(), name.c_str(), 0);
    }
}

} // namespace

std::string note_text(const std::string& subject, const std::string& replaced) {
    return replaced.empty() ? subject : fmt::format("{}{}{}", subject, separator, replaced);
}

// Staged in the root, where nobody takes it for a record; but rename() does not lead out of a file system or
// a mount, and the root may be read-only.
Result<void> Database::stage(std::string_view top,
                             const std::function<Result<void>(const Directory&)>& put) const {
    Result<void> done = put(root_);
    if (done || done.error().code != Errc::not_supported) {
        return done;
    }
    Result<Directory> above = made({top});
    Result<Directory> staging = above ? above->make_child(staging_name) : fail(above.error());
    if (!staging) {
        return fail(Errc::database, staging.error().detail);
    }
    done = put(*staging);
    Result<void> removed = above->remove_if_empty(staging_name);
    return !done ? fail(Errc::database, done.error().detail) : removed;
}

Result<void> Database::noted(const std::string& subject, const std::string& replaced,
                             const std::function<Result<void>()>& steps) const {
    Result<void> done = note(note_text(subject, replaced));
    return done ? after_note(steps) : done;
}

Result<void> Database::noted_removal(const std::string& subject,
                                     const std::function<Result<void>()>& steps) const {
    if (note(subject)) {
        return after_note(steps);
    }
    Result<void> done = steps();
    if (!done) {
        static_cast<void>(settle(subject)); // as far as it goes; nothing tells the next writer
    }
    return done;
}

Result<void> Database::after_note(const std::function<Result<void>()>& steps) const {
    std::string_view name = note_names[changes_];
    ++changes_;
    Result<void> done = steps();
    --changes_;
    if (done) {
        forget_note(name);
    } else if (changes_ == 0) {
        settled_ = settle_notes();
    }
    return done;
}

Result<void> Database::all_noted(const std::vector<std::string>& texts,
                                 const std::function<Result<void>()>& steps) const {
    if (!settled_) {
        return fail(settled_.error());
    }
    Result<void> done = note_many(texts);
    return forget_or_settle(done ? steps() : done);
}

Result<void> Database::all_removals_noted(const std::vector<std::string>& texts,
                                          const std::function<Result<void>()>& steps) const {
    if (!settled_) {
        return steps(); // the note that is there is needed
    }
    static_cast<void>(note_many(texts));
    return forget_or_settle(steps());
}

Result<void> Database::forget_or_settle(Result<void> done) const {
    if (done) {
        forget_note(batch_note_name);
    } else {
        settled_ = settle_many();
    }
    return done;
}

Result<void> Database::note_many(const std::vector<std::string>& texts) const {
    base::check(texts.size() <= batch_records_max, "a note is no longer than a file may be");
    return stage(tops[0], [&](const Directory& place) {
        Result<StagedFile> staged = place.stage(fmt::format("{}\n", fmt::join(texts, "\n")));
        Result<void> done = staged ? staged->sync() : fail(staged.error());
        return done ? place.take(std::move(*staged), batch_note_name) : done;
    });
}

Result<void> Database::note(const std::string& text) const {
    if (!settled_) {
        return fail(Errc::database,
                    fmt::format("a change that was cut off cannot be finished: {}", settled_.error().detail));
    }
    base::check(changes_ < std::size(note_names), "a change within a change has none within");
    std::string_view name = note_names[changes_];
    Result<void> done = make_note(root_, name, text);
    if (done || done.error().code != Errc::not_supported) {
        return done;
    }
    Result<Directory> nodes = made({tops[0]});
    Result<Directory> elsewhere = nodes ? nodes->make_child(staging_name) : fail(nodes.error());
    done = elsewhere ? make_note(*elsewhere, name, text) : Result<void>(fail(elsewhere.error()));
    return done ? done : fail(Errc::database, done.error().detail);
}

// One that stays, or comes back after a crash, is settled a second time, which changes nothing.
void Database::forget_note(std::string_view name) const {
    if (::unlinkat(root_.fd(), name.data(), 0) == 0) {
        return;
    }
    Result<Directory> elsewhere = staging_of(tops[0]);
    if (elsewhere) {
        ::unlinkat(elsewhere->fd(), name.data(), 0);
        ::rmdir(elsewhere->path().c_str());
    }
}

Result<Directory> Database::staging_of(std::string_view top) const {
    return Directory::open(fmt::format("{}/{}/{}", db_dir_, top, staging_name));
}

void Database::recover() const {
    clear_staged(root_);
    for (std::string_view top : tops) {
        Result<Directory> staging = staging_of(top);
        if (staging) {
            clear_staged(*staging);
            ::rmdir(staging->path().c_str());
        }
    }
    settled_ = settle_notes();
}

/// The innermost change first. Its note goes when it is settled.
Result<void> Database::settle_notes() const {
    Result<void> done = settle_many();
    Result<Directory> elsewhere = staging_of(tops[0]);
    for (std::size_t depth = std::size(note_names); done && depth > 0; --depth) {
        std::string_view name = note_names[depth - 1];
        Result<std::string> text = root_.read_link(name);
        if (!text && elsewhere) {
            text = elsewhere->read_link(name);
        }
        if (!text) {
            continue;
        }
        changes_ = static_cast<unsigned>(depth);
        done = settle(*text);
        if (done) {
            forget_note(name);
        }
    }
    changes_ = 0;
    return done;
}

Result<void> Database::settle_many() const {
    Result<std::string> texts = root_.read_hidden(batch_note_name);
    Result<Directory> elsewhere = staging_of(tops[0]);
    if (!texts && elsewhere) {
        texts = elsewhere->read_hidden(batch_note_name);
    }
    if (!texts) {
        Warnings ignored;
        return pass_over(texts.error(), ignored);
    }
    Result<void> done;
    for (std::string_view text : base::split(*texts, '\n')) {
        std::size_t end = text.find(separator);
        std::optional<NodePlace> node = parse_node_path(text.substr(0, end));
        if (node) {
            std::size_t next = end == std::string_view::npos ? text.size() : end + separator.size();
            Result<void> settled = settle_node(*node, parse_node_path(text.substr(next)));
            done = done ? settled : done; // one that lacks space for its link may not stop the others
        }
    }
    if (done) {
        forget_note(batch_note_name);
    }
    return done;
}

Result<void> Database::settle(std::string_view text) const {
    std::size_t end = text.find(separator);
    std::string_view subject = text.substr(0, end);
    std::string_view replaced =
        end == std::string_view::npos ? std::string_view() : text.substr(end + separator.size());
    if (std::optional<NodePlace> node = parse_node_path(subject)) {
        return settle_node(*node, parse_node_path(replaced));
    }
    std::size_t slash = std::min(subject.find('/'), subject.size());
    std::string_view top = subject.substr(0, slash);
    std::string_view name = subject.substr(std::min(slash + 1, subject.size()));
    if (!check_file_name(name)) {
        return {};
    }
    if (top == "ifaces") {
        return settle_iface(name);
    }
    for (RecordKind kind : {RecordKind::send_targets, RecordKind::isns}) {
        if (top == discovery_layout(kind).directory) {
            return clear_discovery_leftovers(kind, name);
        }
    }
    return {};
}

// A link is taken away before its record changes and made after it: so all that a crash can leave undone is a
// link that is missing, an old place of the record or of one without tag, and an empty directory.
Result<void> Database::settle_node(const NodePlace& place, const std::optional<NodePlace>& replaced) const {
    Warnings ignored;
    Result<Record> node = read(place, ignored);
    Result<void> done = node ? Result<void>() : pass_over(node.error(), ignored);
    Result<void> linked = node ? link(*node, place) : Result<void>(); // what removes goes on without
    if (done && replaced) {
        Result<Record> old = read(*replaced, ignored);
        done = !old ? pass_over(old.error(), ignored) : node ? take_away(*replaced) : link(*old, *replaced);
        if (done) {
            done = remove_empty_directories(*replaced);
        }
    }
    if (done && node) {
        done = remove_flat_twin(place);
    }
    done = done ? remove_empty_directories(place) : done;
    return done ? linked : done;
}

Result<void> Database::settle_iface(std::string_view name) const {
    Warnings ignored;
    Result<Record> iface = read_iface(name, ignored);
    return iface ? spread_iface(*iface) : pass_over(iface.error(), ignored);
}

} // namespace iscsi::records

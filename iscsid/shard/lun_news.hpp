// What the commands of one unit bring for control to look after, on its way there. Made with the unit, so
// that telling takes no memory; however fast a target tells, one message is on its way and collects the rest.
// tell() and the destructor: thread of the shard; the observer is called on control's loop.
#pragma once

#include "ring/loop.hpp"
#include "scsi/disposition.hpp"
#include "shard/nexus.hpp"

#include <atomic>
#include <cstdint>
#include <memory>

namespace iscsi::shard {

class LunNews {
public:
    /// The observer of `nexus` is there until the last message was delivered (see Nexus).
    LunNews(Nexus& nexus, base::Lun lun);

    /// The observer will hear of the effects, together with others that came meanwhile and the sense data of
    /// the last of them.
    void tell(const scsi::Disposition& disposition);

private:
    /// On its way, or waiting to be sent. Deletes itself when it is delivered after the unit has gone.
    class Notice final : public ring::Message {
    public:
        Notice(NexusObserver& observer, base::Lun lun) : observer_(observer), lun_(lun) {}
        /// True when it has to be posted.
        bool add(const scsi::Disposition& disposition);
        /// True when it is not on its way: it can go at once.
        bool abandon();
        void deliver() override;

    private:
        NexusObserver& observer_;
        const base::Lun lun_;
        /// Effects below, then sense key, ASC and ASCQ, then two flags.
        std::atomic<std::uint64_t> content_ = 0;
    };
    struct Abandon {
        void operator()(Notice* notice) const;
    };

    ring::Loop& control_;
    std::unique_ptr<Notice, Abandon> notice_;
};

} // namespace iscsi::shard

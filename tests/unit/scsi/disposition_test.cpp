#include "scsi/disposition.hpp"

#include "base/limits.hpp"
#include "unit/scsi/parameter_bytes.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <set>

using namespace iscsi::scsi;
using iscsi::test::ByteVector;
using iscsi::test::hex;

namespace {

constexpr std::uint8_t check_condition = 0x02;

ByteVector fixed_sense(int key, int asc, int ascq, int response_code = 0x70) {
    ByteVector sense(18);
    sense[0] = static_cast<std::byte>(response_code);
    sense[2] = static_cast<std::byte>(key);
    sense[7] = std::byte{10};
    sense[12] = static_cast<std::byte>(asc);
    sense[13] = static_cast<std::byte>(ascq);
    return sense;
}

ByteVector descriptor_sense(int key, int asc, int ascq, int response_code = 0x72) {
    ByteVector sense(8);
    sense[0] = static_cast<std::byte>(response_code);
    sense[1] = static_cast<std::byte>(key);
    sense[2] = static_cast<std::byte>(asc);
    sense[3] = static_cast<std::byte>(ascq);
    return sense;
}

struct Expected {
    int key, asc, ascq;
    Action action;
    int error_number;
    Effects effects;
};

using enum Effect;

const std::vector<Expected> table{
    {0x0, 0x00, 0x00, Action::retry_now, EIO, {}},
    {0x1, 0x17, 0x01, Action::success, 0, {}},
    {0x1, 0x5d, 0x10, Action::success, 0, {}},
    {0xf, 0x00, 0x00, Action::success, 0, {}},

    {0x2, 0x04, 0x00, Action::fail, EIO, {}},
    {0x2, 0x04, 0x01, Action::retry_later, EIO, {}},
    {0x2, 0x04, 0x02, Action::retry_later, EIO, needs_start},
    {0x2, 0x04, 0x03, Action::fail, EIO, {}},
    {0x2, 0x04, 0x04, Action::retry_later, EIO, {}},
    {0x2, 0x04, 0x09, Action::retry_later, EIO, {}},
    {0x2, 0x04, 0x0a, Action::retry_later, ENOLINK, asymmetric_access_changed},
    {0x2, 0x04, 0x0b, Action::fail, ENOLINK, asymmetric_access_changed},
    {0x2, 0x04, 0x0c, Action::fail, ENOLINK, asymmetric_access_changed},
    {0x2, 0x04, 0x12, Action::fail, EIO, {}},
    {0x2, 0x04, 0x14, Action::retry_later, EIO, {}},
    {0x2, 0x04, 0x1d, Action::retry_later, EIO, {}},
    {0x2, 0x3a, 0x00, Action::fail, ENOMEDIUM, capacity_changed},
    {0x2, 0x3a, 0x02, Action::fail, ENOMEDIUM, capacity_changed},
    {0x2, 0x3e, 0x00, Action::retry_later, EIO, {}},

    {0x3, 0x11, 0x00, Action::fail, ENODATA, {}},
    {0x3, 0x11, 0x04, Action::fail, ENODATA, {}},
    {0x3, 0x13, 0x00, Action::fail, ENODATA, {}},
    {0x3, 0x14, 0x01, Action::fail, ENODATA, {}},
    {0x3, 0x0c, 0x00, Action::retry_now, ENODATA, {}},
    {0x3, 0x03, 0x00, Action::retry_now, ENODATA, {}},
    {0x4, 0x44, 0x00, Action::fail, EREMOTEIO, {}},
    {0x4, 0x3e, 0x01, Action::fail, EREMOTEIO, {}},

    {0x5, 0x20, 0x00, Action::fail, EOPNOTSUPP, feature_unsupported},
    {0x5, 0x20, 0x02, Action::fail, EREMOTEIO, {}},
    {0x5, 0x24, 0x00, Action::fail, EOPNOTSUPP, feature_unsupported},
    {0x5, 0x21, 0x00, Action::fail, EREMOTEIO, capacity_changed},
    {0x5, 0x25, 0x00, Action::fail, ENODEV, unit_gone | luns_changed | identity_doubt},
    {0x5, 0x26, 0x00, Action::fail, EREMOTEIO, {}},
    {0x5, 0x1a, 0x00, Action::fail, EREMOTEIO, {}},
    {0x5, 0x10, 0x01, Action::fail, EILSEQ, {}},

    {0x6, 0x04, 0x0a, Action::retry_later, ENOLINK, attention | asymmetric_access_changed},
    {0x6, 0x28, 0x00, Action::retry_now, EIO,
     attention | capacity_changed | mode_changed | inquiry_changed | identity_doubt},
    {0x6, 0x29, 0x00, Action::retry_now, EIO,
     attention | power_on_reset | cache_maybe_lost | mode_changed | identity_doubt},
    {0x6, 0x29, 0x01, Action::retry_now, EIO,
     attention | power_on_reset | cache_maybe_lost | power_was_lost | mode_changed | identity_doubt},
    {0x6, 0x29, 0x02, Action::retry_now, EIO, attention | power_on_reset | mode_changed},
    {0x6, 0x29, 0x03, Action::retry_now, EIO, attention | power_on_reset | mode_changed},
    {0x6, 0x29, 0x04, Action::retry_now, EIO,
     attention | power_on_reset | cache_maybe_lost | power_was_lost | mode_changed},
    {0x6, 0x29, 0x07, Action::retry_now, EIO, attention | power_on_reset | mode_changed},
    {0x6, 0x2a, 0x01, Action::retry_now, EIO, attention | mode_changed},
    {0x6, 0x2a, 0x02, Action::retry_now, EIO, attention},
    {0x6, 0x2a, 0x03, Action::retry_now, EIO, attention | reservations_changed},
    {0x6, 0x2a, 0x04, Action::retry_now, EIO, attention | reservations_changed},
    {0x6, 0x2a, 0x05, Action::retry_now, EIO, attention | reservations_changed},
    {0x6, 0x2a, 0x06, Action::retry_now, EIO, attention | asymmetric_access_changed},
    {0x6, 0x2a, 0x07, Action::retry_now, EIO, attention | asymmetric_access_changed},
    {0x6, 0x2a, 0x09, Action::retry_now, EIO, attention | capacity_changed},
    {0x6, 0x2c, 0x00, Action::retry_now, EIO, attention},
    {0x6, 0x2f, 0x00, Action::retry_now, EIO, attention},
    {0x6, 0x38, 0x07, Action::retry_now, EIO, attention | thin_threshold},
    {0x6, 0x3f, 0x01, Action::retry_now, EIO, attention | inquiry_changed},
    {0x6, 0x3f, 0x03, Action::retry_now, EIO, attention | inquiry_changed | identity_doubt},
    {0x6, 0x3f, 0x05, Action::retry_now, EIO, attention | inquiry_changed | identity_doubt},
    {0x6, 0x3f, 0x0e, Action::retry_now, EIO, attention | luns_changed | identity_doubt},
    {0x6, 0x47, 0x7f, Action::retry_now, EIO, attention},
    {0x6, 0xee, 0xee, Action::retry_now, EIO, attention},

    {0x7, 0x27, 0x00, Action::fail, EREMOTEIO, mode_changed},
    {0x7, 0x27, 0x02, Action::fail, EREMOTEIO, mode_changed},
    {0x7, 0x27, 0x07, Action::fail, ENOSPC, thin_exhausted},
    {0x7, 0x20, 0x02, Action::fail, EREMOTEIO, {}},
    {0x8, 0x00, 0x00, Action::fail, EREMOTEIO, {}},
    {0x9, 0x80, 0x00, Action::retry_now, EIO, {}},
    {0xa, 0x0d, 0x01, Action::fail, EREMOTEIO, {}},
    {0xb, 0x0c, 0x0c, Action::retry_now, EIO, our_fault},
    {0xb, 0x0c, 0x0d, Action::retry_now, EIO, our_fault},
    {0xb, 0x0c, 0x00, Action::retry_now, EIO, {}},
    {0xb, 0x10, 0x02, Action::fail, EILSEQ, {}},
    {0xb, 0x11, 0x13, Action::retry_now, EIO, {}},
    {0xb, 0x2e, 0x01, Action::fail, ETIME, {}},
    {0xb, 0x44, 0x00, Action::retry_now, EIO, {}},
    {0xb, 0x47, 0x05, Action::retry_now, EIO, {}},
    {0xc, 0x00, 0x00, Action::fail, EIO, {}},
    {0xd, 0x00, 0x00, Action::fail, EREMOTEIO, {}},
    {0xe, 0x1d, 0x00, Action::fail, EREMOTEIO, {}},
};

/// What dm-multipath does not try another path for (the block layer's view of the errno).
bool goes_to_file_system(int error_number) {
    static const std::set<int> errors{ENODATA, EREMOTEIO, EBADE, ENOSPC, EOPNOTSUPP, EILSEQ};
    return errors.count(error_number) != 0;
}

} // namespace

TEST_CASE(
    "each sense code has its action, errno and effects in both formats",
    "[spc-4-4.5.6][SCSI-SENSE-01][SCSI-SENSE-03][SCSI-SENSE-04][SCSI-SENSE-05][SCSI-SENSE-06][SCSI-UA-01]"
    "[SCSI-THIN-01][SCSI-ALUA-02]") {
    for (const Expected& row : table) {
        INFO(describe({static_cast<SenseKey>(row.key), static_cast<std::uint8_t>(row.asc),
                       static_cast<std::uint8_t>(row.ascq)}));
        for (const ByteVector& sense :
             {fixed_sense(row.key, row.asc, row.ascq), descriptor_sense(row.key, row.asc, row.ascq)}) {
            Disposition result = classify(check_condition, sense);
            CHECK(result.action == row.action);
            CHECK(result.error_number == row.error_number);
            CHECK(result.effects.bits() == row.effects.bits());
            CHECK(static_cast<int>(result.sense.key) == row.key);
            CHECK(result.sense.asc == row.asc);
            CHECK(result.sense.ascq == row.ascq);
            CHECK_FALSE(result.reference.empty());
        }
    }
}

TEST_CASE("each status has its action and errno",
          "[sam-5-5.3.1][SCSI-STATUS-01][SCSI-STATUS-02][SCSI-STATUS-03][SCSI-STATUS-05][SCSI-STATUS-06]") {
    struct Row {
        std::uint8_t status;
        Action action;
        int error_number;
        Effects effects;
    };
    const std::array rows{
        Row{0x00, Action::success, 0, {}},
        Row{0x04, Action::success, 0, {}},
        Row{0x08, Action::retry_later, EIO, {}},
        Row{0x18, Action::fail, EBADE, {}},
        Row{0x28, Action::retry_later, EIO, queue_full},
        Row{0x30, Action::retry_later, EIO, {}},
        Row{0x40, Action::retry_now, EIO, {}},
        Row{0x10, Action::fail, EIO, {}},
        Row{0x22, Action::fail, EIO, {}},
        Row{0xff, Action::fail, EIO, {}},
    };
    for (const Row& row : rows) {
        INFO(static_cast<int>(row.status));
        Disposition result = classify(row.status, {});
        CHECK(result.action == row.action);
        CHECK(result.error_number == row.error_number);
        CHECK(result.effects == row.effects);
        CHECK_FALSE(result.reference.empty());
    }
}

TEST_CASE("sense data beside another status than CHECK CONDITION means nothing", "[sam-5-5.3.1]") {
    ByteVector sense = fixed_sense(0x3, 0x11, 0x00);
    CHECK(classify(0x00, sense).action == Action::success);
    CHECK(classify(0x08, sense).action == Action::retry_later);
    CHECK(classify(0x18, sense).error_number == EBADE);
}

TEST_CASE("a check condition without usable sense data is retried, then fails",
          "[spc-4-4.5.1][SCSI-SENSE-02]") {
    for (const char* bytes : {"", "00 00 05", "7f 00 03"}) {
        Disposition result = classify(check_condition, hex(bytes));
        CHECK(result.action == Action::retry_now);
        CHECK(result.error_number == EIO);
        CHECK(result.effects.none());
    }
}

TEST_CASE("every combination of status and sense has a whole answer", "[sam-5-5.3.1][spc-4-4.5.6]") {
    auto whole = [](const Disposition& result) {
        return (result.action == Action::success) == (result.error_number == 0) &&
               (result.action == Action::retry_later) == (result.delay.count() > 0) &&
               !result.reference.empty();
    };
    int broken = 0;
    for (int key = 0; key < 16; ++key) {
        ByteVector sense = descriptor_sense(key, 0, 0);
        for (int codes = 0; codes < 0x10000; ++codes) {
            sense[2] = static_cast<std::byte>(codes >> 8);
            sense[3] = static_cast<std::byte>(codes & 0xff);
            Disposition result = classify(check_condition, sense);
            bool right = whole(result) && result.effects.has(attention) == (key == 0x6) &&
                         !result.effects.has(deferred_error);
            broken += right ? 0 : 1;
        }
    }
    CHECK(broken == 0);
    for (int status = 0; status < 256; ++status) {
        CHECK(whole(classify(static_cast<std::uint8_t>(status), {})));
    }
}

TEST_CASE("a deferred error retries the command at hand and is kept for the next flush",
          "[spc-4-4.5.5][SCSI-SENSE-07]") {
    for (const ByteVector& sense :
         {fixed_sense(0x3, 0x0c, 0x00, 0x71), descriptor_sense(0x3, 0x0c, 0x00, 0x73),
          fixed_sense(0x3, 0x11, 0x00, 0x71)}) {
        Disposition result = classify(check_condition, sense);
        CHECK(result.action == Action::retry_now);
        CHECK(result.effects.has(deferred_error));
        CHECK(result.error_number == ENODATA);
        CHECK(result.sense.key == SenseKey::medium_error);
    }
    CHECK(classify(check_condition, fixed_sense(0x7, 0x27, 0x07, 0x71)).error_number == ENOSPC);
    CHECK(classify(check_condition, fixed_sense(0x2, 0x04, 0x01, 0x71)).delay.count() == 0);
}

TEST_CASE("deferred news that is no failure only retries", "[spc-4-4.5.5]") {
    for (int key : {0x1, 0x6}) {
        Disposition result = classify(check_condition, fixed_sense(key, 0x00, 0x00, 0x71));
        CHECK(result.action == Action::retry_now);
        CHECK(result.error_number == EIO);
        CHECK_FALSE(result.effects.has(deferred_error));
    }
}

TEST_CASE("errors of the medium, the data or the request never fail over", "[multipath][SCSI-SENSE-08]") {
    for (const Expected& row : table) {
        bool request_or_medium = row.key == 0x3 || row.key == 0x4 || row.key == 0x7 || row.key == 0x8 ||
                                 row.key == 0xd || row.key == 0xe || (row.key == 0x5 && row.asc != 0x25);
        if (request_or_medium) {
            INFO(row.key << " " << row.asc << " " << row.ascq);
            Disposition result = classify(check_condition, fixed_sense(row.key, row.asc, row.ascq));
            CHECK(goes_to_file_system(result.error_number));
        }
    }
    CHECK(goes_to_file_system(classify(0x18, {}).error_number));
}

TEST_CASE("what another path may cure does fail over", "[multipath][SCSI-SENSE-08][SCSI-ALUA-02]") {
    CHECK_FALSE(goes_to_file_system(classify(check_condition, fixed_sense(0x2, 0x04, 0x0b)).error_number));
    CHECK_FALSE(goes_to_file_system(classify(check_condition, fixed_sense(0x5, 0x25, 0x00)).error_number));
    CHECK_FALSE(goes_to_file_system(classify(check_condition, fixed_sense(0xb, 0x47, 0x05)).error_number));
    CHECK_FALSE(goes_to_file_system(classify_service_response(0x01).error_number));
}

TEST_CASE("an iSCSI response other than completed is a transport error", "[rfc7143-11.4.3]") {
    CHECK(classify_service_response(0x01).action == Action::retry_now);
    CHECK(classify_service_response(0x80).action == Action::retry_now);
    CHECK(classify_service_response(0xff).action == Action::retry_now);
    CHECK(classify_service_response(0x02).action == Action::fail);
    CHECK(classify_service_response(0x7f).action == Action::fail);
    for (int response = 1; response < 256; ++response) {
        CHECK(classify_service_response(static_cast<std::uint8_t>(response)).error_number == ENOLINK);
    }
}

TEST_CASE("classifying survives damaged sense data", "[spc-4-4.5][SCSI-SENSE-02]") {
    for (const ByteVector& whole : {fixed_sense(0x6, 0x29, 0x00), descriptor_sense(0x3, 0x11, 0x00, 0x73)}) {
        iscsi::test::parse_damaged(whole, [](iscsi::base::Bytes sense) {
            Disposition result = classify(check_condition, sense);
            REQUIRE((result.action == Action::success) == (result.error_number == 0));
        });
    }
}

TEST_CASE("a full queue is tried again sooner than a unit that is not ready", "[sam-5-5.3.1]") {
    auto full = classify(0x28, {}).delay;
    auto busy = classify(0x08, {}).delay;
    auto not_ready = classify(check_condition, fixed_sense(0x2, 0x04, 0x01)).delay;
    CHECK(full < busy);
    CHECK(busy < not_ready);
}

TEST_CASE("where another unit may answer now, nothing is sent again before it was compared",
          "[spc-4-6.4][SCSI-UA-05]") {
    for (const Expected& row : table) {
        const bool swapped = (row.key == 0x6 && (row.asc == 0x28 || (row.asc == 0x29 && row.ascq <= 0x01))) ||
                             (row.key == 0x6 && row.asc == 0x3f && row.ascq >= 0x03) ||
                             (row.key == 0x5 && row.asc == 0x25);
        INFO(row.key << " " << row.asc << " " << row.ascq);
        CHECK(
            classify(check_condition, fixed_sense(row.key, row.asc, row.ascq)).effects.has(identity_doubt) ==
            swapped);
    }
}

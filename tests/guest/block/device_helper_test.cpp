// Devices are started by helpers, and a helper is this program once more.
#include "support/serve_as_device_helper.hpp"

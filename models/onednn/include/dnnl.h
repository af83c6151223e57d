// Found before the system's header of this name, so that dnnl.hpp beside it is found too.
#include_next <dnnl.h>

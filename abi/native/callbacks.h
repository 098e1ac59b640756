/* The callbacks that the host makes. */
#pragma once

#include "stable_abi.h"

/* Interns the names of all Python methods that the host's callbacks call; false with an exception set. */
bool callbacks_intern_names(void);

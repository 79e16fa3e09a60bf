/*-------------------------------------------------------------------------
 *
 * capture_settings.h
 *	  Settings that captured values are printed under.
 *
 *-------------------------------------------------------------------------
 */
#ifndef EVENTLOG_CAPTURE_SETTINGS_H
#define EVENTLOG_CAPTURE_SETTINGS_H

#include "utils/guc.h"

/* For workers that print values: the encoder reads what these give. */
static inline void
eventlog_capture_settings(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO"},
		{"intervalstyle", "postgres"},
		{"extra_float_digits", "3"},
		{"bytea_output", "hex"},
		{"xmloption", "content"},
		{"TimeZone", "UTC"},
		{"lc_monetary", "C"},
		{"row_security", "off"}};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

#endif							/* EVENTLOG_CAPTURE_SETTINGS_H */

package wechat

import "log/slog"

// CodeText returns the code table's text for an errcode. Unlike WeChat's errmsg, it repeats no
// submitted value.
func CodeText(code int) string {
	if known, ok := LookupCode(code); ok {
		return known.Text
	}
	return "not in the table of codes"
}

// Remedy returns what an operator must do about an errcode. It is empty if the code table has
// no remedy.
func Remedy(code int) string {
	known, _ := LookupCode(code)
	return known.Remedy
}

// RIDAttrs returns the log attributes of WeChat's request id (rid) and of the time that it
// encodes. An operator needs both for a question to WeChat about a request.
func RIDAttrs(rid string) []slog.Attr {
	if rid == "" {
		return nil
	}
	attrs := []slog.Attr{slog.String("rid", rid)}
	if at, ok := RIDTime(rid); ok {
		attrs = append(attrs, slog.Time("rid_at", at.UTC()))
	}
	return attrs
}

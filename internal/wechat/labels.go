package wechat

import "strconv"

// OtherLabel is the metric label for all values that have no label of their own.
const OtherLabel = "other"

// MaxAppLabels is the maximum number of apps with their own label. Each app costs about a
// hundred series, which Prometheus holds in memory.
const MaxAppLabels = 200

// AppLabels bounds the values of the label app. Up to [MaxAppLabels] apps of the configuration
// have their appid as label. All other apps, including the merchants of a third-party platform,
// have [OtherLabel]. The zero value has no apps.
type AppLabels struct {
	known map[string]struct{}
	list  []string
}

// NewAppLabels returns labels for the given apps.
func NewAppLabels(appIDs ...string) AppLabels {
	l := AppLabels{known: make(map[string]struct{})}
	for _, id := range appIDs {
		if _, there := l.known[id]; !there && len(l.list) < MaxAppLabels {
			l.known[id] = struct{}{}
			l.list = append(l.list, id)
		}
	}
	return l
}

// Of returns the label of an app.
func (l AppLabels) Of(appID string) string {
	if _, known := l.known[appID]; known {
		return appID
	}
	return OtherLabel
}

// Known returns the apps that have their own label. Do not modify the result.
func (l AppLabels) Known() []string { return l.list }

// codeLabels maps the codes of the table to their labels. It is never modified.
var codeLabels = func() map[int]string {
	labels := map[int]string{0: "0"}
	for _, row := range codes {
		labels[row.Code] = strconv.Itoa(row.Code)
	}
	return labels
}()

// CodeLabel returns the metric label of an errcode: "0" for success, the number for a code of
// the table, and [OtherLabel] for any other code.
func CodeLabel(code int) string {
	if label, known := codeLabels[code]; known {
		return label
	}
	return OtherLabel
}

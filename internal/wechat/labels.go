package wechat

import "strconv"

// OtherLabel stands in a metric's label for every value that is not told apart.
const OtherLabel = "other"

// MaxAppLabels is how many apps metrics tell apart. Each costs some hundred series, and Prometheus holds them all.
const MaxAppLabels = 200

// AppLabels bounds the values of the label app: the apps of the configuration, up to [MaxAppLabels] of them, by their
// appid, all others, and the merchants of a third-party platform, as [OtherLabel]. The zero value knows none.
type AppLabels struct {
	known map[string]struct{}
	list  []string
}

// NewAppLabels returns the labels of these apps.
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

// Of is the label of an app.
func (l AppLabels) Of(appID string) string {
	if _, known := l.known[appID]; known {
		return appID
	}
	return OtherLabel
}

// Known are the apps that are told apart.
func (l AppLabels) Known() []string { return l.list }

// codeLabels are the labels of the code table. Nobody changes it.
var codeLabels = func() map[int]string {
	labels := map[int]string{0: "0"}
	for _, row := range codes {
		labels[row.Code] = strconv.Itoa(row.Code)
	}
	return labels
}()

// CodeLabel is an errcode as a metric's label: 0 for none, those of the code table as they are, any other as
// [OtherLabel].
func CodeLabel(code int) string {
	if label, known := codeLabels[code]; known {
		return label
	}
	return OtherLabel
}

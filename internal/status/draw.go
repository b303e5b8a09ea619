package status

import (
	"html/template"
	"slices"
	"strconv"
	"strings"
)

// The sizes of a sparkline, in units of its viewBox.
const (
	sparkHeight = 20
	sparkStep   = 2
)

// spark returns the outline of a series as the d attribute of an SVG path, the oldest point on
// the left. The outline starts and ends at the baseline.
func spark(points []int64) string {
	top := max(1, slices.Max(points))
	y := func(i int) int { return sparkHeight - int(points[i]*(sparkHeight-2)/top) }
	var d strings.Builder
	d.WriteString("M0 " + strconv.Itoa(sparkHeight))
	for i := range points {
		// In a level stretch, draw only the two ends.
		if i > 0 && i < len(points)-1 && y(i) == y(i-1) && y(i) == y(i+1) {
			continue
		}
		d.WriteString("L" + strconv.Itoa(i*sparkStep) + " " + strconv.Itoa(y(i)))
	}
	d.WriteString("V" + strconv.Itoa(sparkHeight) + "Z")
	return d.String()
}

// The sizes of the chart, in units of its viewBox.
const (
	chartHeight = 100
	barStep     = 10
	barWidth    = 8
)

// chart is a series as stacked bars, with one SVG path per status.
type chart struct {
	Resolved, Expired, Failed string
	Peak                      int64
	Width, Height             int
}

// newChart draws the chart of a series.
func newChart(s EndSeries) chart {
	c := chart{Width: len(s.Resolved)*barStep - (barStep - barWidth), Height: chartHeight}
	for i := range s.Resolved {
		c.Peak = max(c.Peak, s.Resolved[i]+s.Expired[i]+s.Failed[i])
	}
	var resolved, expired, failed strings.Builder
	for i := range s.Resolved {
		base := chartHeight
		// Stack the bars from the bottom: resolved, expired, failed.
		for _, part := range []struct {
			d *strings.Builder
			n int64
		}{{&resolved, s.Resolved[i]}, {&expired, s.Expired[i]}, {&failed, s.Failed[i]}} {
			height := min(c.height(part.n), base)
			if height == 0 {
				continue
			}
			base -= height
			bar(part.d, i*barStep, base, height)
		}
	}
	c.Resolved, c.Expired, c.Failed = resolved.String(), expired.String(), failed.String()
	return c
}

// height returns the height of a bar. A bar for one or more cloudIDs is always visible.
func (c *chart) height(n int64) int {
	if n == 0 {
		return 0
	}
	return max(2, int(n*chartHeight/c.Peak))
}

// bar appends a bar to an SVG path.
func bar(d *strings.Builder, x, y, height int) {
	d.WriteString("M" + strconv.Itoa(x) + " " + strconv.Itoa(y) + "h" + strconv.Itoa(barWidth) + "v" + strconv.Itoa(height) +
		"h-" + strconv.Itoa(barWidth) + "z")
}

// percent returns part as a percentage of whole, from 0 to 100. It returns 0 if whole is 0.
func percent(part, whole int64) int64 {
	if whole <= 0 {
		return 0
	}
	return min(100, max(0, 100*part/whole))
}

// share returns part as a percentage of whole with one decimal. Only part == whole gives "100
// %", and a small part gives "< 0.1 %".
func share(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	tenths := 1000 * part / whole
	switch {
	case part > 0 && tenths == 0:
		return "< 0.1 %"
	case part == whole:
		return "100 %"
	}
	return strconv.FormatInt(tenths/10, 10) + "." + strconv.FormatInt(tenths%10, 10) + " %"
}

// count formats a number with a comma between thousands.
func count[N int | int64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// decimal formats a number with zero to two decimals: fewer for larger numbers.
func decimal(x float64) string {
	switch {
	case x >= 100:
		return count(int64(x + 0.5))
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
}

// drawing holds the template functions that do not depend on the language.
var drawing = template.FuncMap{
	"spark": spark, "chart": newChart, "percent": percent, "share": share, "decimal": decimal,
	"count": func(n any) string {
		if i, ok := n.(int); ok {
			return count(i)
		}
		return count(n.(int64)) //nolint:forcetypeassert // the template counts nothing else
	},
}

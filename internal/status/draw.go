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

// spark is the outline of a series, the oldest on the left, as the d of an SVG path. It begins and ends at the ground.
func spark(points []int64) string {
	top := max(1, slices.Max(points))
	y := func(i int) int { return sparkHeight - int(points[i]*(sparkHeight-2)/top) }
	var d strings.Builder
	d.WriteString("M0 " + strconv.Itoa(sparkHeight))
	for i := range points {
		// Within a level stretch only its ends are drawn.
		if i > 0 && i < len(points)-1 && y(i) == y(i-1) && y(i) == y(i+1) {
			continue
		}
		d.WriteString("L" + strconv.Itoa(i*sparkStep) + " " + strconv.Itoa(y(i)))
	}
	d.WriteString("V" + strconv.Itoa(sparkHeight) + "Z")
	return d.String()
}

// The sizes of the chart.
const (
	chartHeight = 100
	barStep     = 10
	barWidth    = 8
)

// chart is the series as bars that stand on each other, a path for each kind.
type chart struct {
	Resolved, Expired, Failed string
	Peak                      int64
	Width, Height             int
}

func newChart(s EndSeries) chart {
	c := chart{Width: len(s.Resolved)*barStep - (barStep - barWidth), Height: chartHeight}
	for i := range s.Resolved {
		c.Peak = max(c.Peak, s.Resolved[i]+s.Expired[i]+s.Failed[i])
	}
	var resolved, expired, failed strings.Builder
	for i := range s.Resolved {
		base := chartHeight
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

// height is that of a bar: one that stands for something can be seen.
func (c *chart) height(n int64) int {
	if n == 0 {
		return 0
	}
	return max(2, int(n*chartHeight/c.Peak))
}

func bar(d *strings.Builder, x, y, height int) {
	d.WriteString("M" + strconv.Itoa(x) + " " + strconv.Itoa(y) + "h" + strconv.Itoa(barWidth) + "v" + strconv.Itoa(height) +
		"h-" + strconv.Itoa(barWidth) + "z")
}

// percent is part of whole, 0 to 100.
func percent(part, whole int64) int64 {
	if whole <= 0 {
		return 0
	}
	return min(100, max(0, 100*part/whole))
}

// share is part of whole in percent with a decimal; that not all is all shows.
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

// count is a number with its thousands apart.
func count[N int | int64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// decimal is a number with as many decimals as are worth reading.
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

// drawing are the functions of the template that know no language.
var drawing = template.FuncMap{
	"spark": spark, "chart": newChart, "percent": percent, "share": share, "decimal": decimal,
	"count": func(n any) string {
		if i, ok := n.(int); ok {
			return count(i)
		}
		return count(n.(int64)) //nolint:forcetypeassert // the template counts nothing else
	},
}

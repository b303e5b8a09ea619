package status

import (
	"fmt"
	"time"

	"golang.org/x/text/language"
)

// Languages lists the languages of the page. The first one is the default.
var Languages = []language.Tag{language.English, language.SimplifiedChinese}

var matcher = language.NewMatcher(Languages)

// Language returns the language of the page: the chosen one if the page has it, otherwise the
// best match for an Accept-Language header.
func Language(chosen, accept string) language.Tag {
	if tag, err := language.Parse(chosen); err == nil {
		if _, i, confidence := matcher.Match(tag); confidence >= language.High {
			return Languages[i]
		}
	}
	wanted, _, _ := language.ParseAcceptLanguage(accept) // an invalid header expresses no preference
	_, i, _ := matcher.Match(wanted...)
	return Languages[i]
}

// words maps keys to the texts of the page in one language.
type words map[string]string

// texts holds the words of each language. A test checks that all languages have the same keys.
var texts = map[language.Tag]words{
	language.English: {
		"html":     "en",
		"title":    "Status",
		"other":    "中文",
		"otherTag": "zh",
		"queues":   "Queues and tasks",
		"updated":  "updated",
		"stale":    "no answer, last updated",
		"comma":    ", ",
		"colon":    ": ",
		"signin":   "the key is no longer accepted; reload the page",

		"ok":                "Everything is running",
		"no_worker":         "No worker is running: no cloudIDs are resolved",
		"old_cloudids":      "CloudIDs wait too long",
		"many_lost":         "%d of 100 cloudIDs fail or expire",
		"apps_paused":       "Paused apps: %d",
		"webhooks_disabled": "Disabled webhooks: %d",
		"webhooks_failing":  "Failing webhooks: %d",

		"finished":   "Finished",
		"perSecond":  "%s/s",
		"window":     "in the last 15 minutes",
		"inWindow":   "%s in 15 min",
		"resolved":   "Resolved",
		"failed":     "Failed",
		"expired":    "Expired",
		"requests":   "Requests per cloudID",
		"requestsIn": "%s to WeChat",
		"latency":    "Acceptance to final status",
		"p50":        "p50",
		"median":     "median · p99 %s",
		"p99":        "p99",
		"oldest":     "Oldest waiting cloudID",
		"ofLife":     "of %s",
		"nothing":    "none",
		"workers":    "Workers",
		"alive":      "alive",
		"chart":      "Finished cloudIDs per 15 seconds",
		"ago":        "15 min ago",
		"now":        "now",
		"peak":       "peak %s",
		"quiet":      "no finished cloudIDs yet",

		"apps":       "Apps",
		"appsHow":    "The last 15 minutes; paused apps first, then the busiest.",
		"app":        "App",
		"rate":       "Per second",
		"perCloudID": "Requests per cloudID",
		"each":       "Requests each",
		"waiting":    "Oldest waiting",
		"all":        "All apps",
		"leftOut":    "%s more apps are not shown.",
		"showMore":   "Show more",
		"showAll":    "Show all apps",
		"find":       "Show one app",
		"go":         "Show",
		"paused":     "paused",
		"noApps":     "The apps of this key have no activity.",

		"pauses":    "Pauses",
		"pausesHow": "No requests are sent for these apps; their cloudIDs wait in the queue.",
		"why":       "Why",
		"remedy":    "Remedy",
		"since":     "Since",
		"until":     "Until",
		"inARow":    "%d in a row",
		"rateWhy":   "WeChat's quota per minute is used up",
		"quotaWhy":  "WeChat's daily quota is used up",
		"appWhy":    "Permission or configuration",
		"for":       "for %s",
		"in":        "in %s",
		"over":      "over; probing with one request",

		"backfills": "Backfills",
		"begun":     "Started",
		"progress":  "Progress",
		"rejected":  "Rejected lines",
		"open":      "in progress",
		"loaded":    "all lines enqueued",
		"complete":  "complete",
		"canceled":  "canceled",
		"state":     "State",

		"webhooks":  "Webhooks",
		"webhook":   "Webhook",
		"enabled":   "enabled",
		"failing":   "failing",
		"disabled":  "disabled",
		"pending":   "Waiting",
		"held":      "On hold",
		"exhausted": "Exhausted",
		"moreHooks": "Not all deliveries were counted.",

		"queue":    "Queue",
		"queued":   "Waiting",
		"active":   "Active",
		"retry":    "Retry",
		"archived": "Archived",
		"tasks":    "Tasks",

		"away":    "Redis does not answer",
		"awayHow": "The status is not available until Redis answers. The page retries automatically.",
	},
	language.SimplifiedChinese: {
		"html":     "zh-CN",
		"title":    "运行状态",
		"other":    "English",
		"otherTag": "en",
		"queues":   "队列与任务",
		"updated":  "更新于",
		"stale":    "无应答，最后更新于",
		"comma":    "，",
		"colon":    "：",
		"signin":   "密钥已失效，请重新加载页面",

		"ok":                "一切正常",
		"no_worker":         "没有 worker 在运行：cloudID 无人处理",
		"old_cloudids":      "cloudID 等待过久",
		"many_lost":         "每 100 个 cloudID 有 %d 个失败或过期",
		"apps_paused":       "已暂停的小程序：%d",
		"webhooks_disabled": "已停用的 webhook：%d",
		"webhooks_failing":  "投递失败的 webhook：%d",

		"finished":   "完成",
		"perSecond":  "%s/秒",
		"window":     "最近 15 分钟",
		"inWindow":   "最近 15 分钟 %s",
		"resolved":   "成功",
		"failed":     "失败",
		"expired":    "过期",
		"requests":   "每个 cloudID 的请求数",
		"requestsIn": "共 %s 次微信请求",
		"latency":    "从接收到完成",
		"p50":        "p50",
		"median":     "中位数 · p99 %s",
		"p99":        "p99",
		"oldest":     "等待最久的 cloudID",
		"ofLife":     "有效期 %s",
		"nothing":    "无",
		"workers":    "Worker 进程",
		"alive":      "在线",
		"chart":      "每 15 秒完成的 cloudID 数",
		"ago":        "15 分钟前",
		"now":        "现在",
		"peak":       "峰值 %s",
		"quiet":      "尚无完成的 cloudID",

		"apps":       "小程序",
		"appsHow":    "最近 15 分钟；已暂停的在前，其余按完成数排序。",
		"app":        "小程序",
		"rate":       "每秒",
		"perCloudID": "每个 cloudID 的请求数",
		"each":       "平均请求数",
		"waiting":    "最久等待",
		"all":        "全部小程序",
		"leftOut":    "另有 %s 个小程序未显示。",
		"showMore":   "显示更多",
		"showAll":    "显示全部小程序",
		"find":       "查看单个小程序",
		"go":         "查看",
		"paused":     "已暂停",
		"noApps":     "此密钥可见的小程序尚无任何活动。",

		"pauses":    "暂停",
		"pausesHow": "这些小程序暂停请求，其 cloudID 在队列中等待。",
		"why":       "原因",
		"remedy":    "处理办法",
		"since":     "开始",
		"until":     "结束",
		"inARow":    "连续 %d 次",
		"rateWhy":   "微信每分钟调用额度已用完",
		"quotaWhy":  "微信当日调用额度已用完",
		"appWhy":    "权限或配置问题",
		"for":       "已 %s",
		"in":        "%s后",
		"over":      "已到期，正以一次请求试探",

		"backfills": "批量补数",
		"begun":     "开始时间",
		"progress":  "进度",
		"rejected":  "被拒行数",
		"open":      "进行中",
		"loaded":    "已全部入队",
		"complete":  "已完成",
		"canceled":  "已取消",
		"state":     "状态",

		"webhooks":  "Webhook",
		"webhook":   "Webhook",
		"enabled":   "已启用",
		"failing":   "投递失败",
		"disabled":  "已停用",
		"pending":   "待投递",
		"held":      "已搁置",
		"exhausted": "已放弃",
		"moreHooks": "投递数量较多，未全部计入。",

		"queue":    "队列",
		"queued":   "排队中",
		"active":   "处理中",
		"retry":    "待重试",
		"archived": "已归档",
		"tasks":    "任务",

		"away":    "Redis 无应答",
		"awayHow": "恢复之前无法显示状态；页面会自动重试。",
	},
}

// tr returns a text of the page, formatted with args. It returns an error for an unknown key.
func (l *locale) tr(key string, args ...any) (string, error) {
	text, known := l.words[key]
	if !known {
		return "", fmt.Errorf("unknown text key %q", key)
	}
	if len(args) == 0 {
		return text, nil
	}
	return fmt.Sprintf(text, args...), nil
}

// word translates a word that comes from another package. It returns unknown words unchanged.
func (l *locale) word(word string) string {
	if text, known := l.words[word]; known {
		return text
	}
	return word
}

// say translates a sentence of another package if a translation exists.
func (l *locale) say(sentence string) string {
	if l.tag == language.SimplifiedChinese && chinese[sentence] != "" {
		return chinese[sentence]
	}
	return sentence
}

// units holds the names of the units of a duration, and the gap between two units.
type units struct{ ms, s, min, h, d, gap string }

var (
	english = units{" ms", " s", " min", " h", " d", " "}
	han     = units{" 毫秒", " 秒", " 分", " 小时", " 天", " "}
)

// span formats a duration with at most two units.
func (l *locale) span(d time.Duration) string {
	u := l.units
	switch {
	case d < 0:
		return "0" + u.s
	case d < time.Second:
		return fmt.Sprintf("%d%s", d.Milliseconds(), u.ms)
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f%s", d.Seconds(), u.s)
	case d < time.Minute:
		return fmt.Sprintf("%d%s", int(d.Seconds()), u.s)
	case d < time.Hour:
		return two(int(d.Minutes()), u.min, int(d.Seconds())%60, u.s, u.gap)
	case d < 24*time.Hour:
		return two(int(d.Hours()), u.h, int(d.Minutes())%60, u.min, u.gap)
	default:
		return two(int(d.Hours())/24, u.d, int(d.Hours())%24, u.h, u.gap)
	}
}

// two formats a duration with two units. It leaves out the small unit if it is 0.
func two(large int, unit string, small int, smallUnit, gap string) string {
	if small == 0 {
		return fmt.Sprintf("%d%s", large, unit)
	}
	return fmt.Sprintf("%d%s%s%d%s", large, unit, gap, small, smallUnit)
}

package wechat

import "encoding/json"

// The kinds of open data, named after the front-end calls that return them.
const (
	KindWeRun    = "werun"     // wx.getWeRunData
	KindPhone    = "phone"     // button getPhoneNumber
	KindChatTool = "chat_tool" // wx.getChatToolInfo, wx.getGroupEnterInfo since base library 3.7.8
	KindGroup    = "group"     // wx.getGroupEnterInfo, wx.getShareInfo
	KindUser     = "user"      // wx.getUserInfo, wx.getUserProfile
	KindOther    = "other"     // anything else, such as the data of mini games
)

// kindRank orders the kinds for data with keys of several kinds: the earlier kind wins.
var kindRank = [...]string{KindWeRun, KindPhone, KindChatTool, KindGroup, KindUser, kindOther: KindOther}

// kindOther is the last index of kindRank, for data without a known key.
const kindOther = 5

// Kind returns the kind of data. WeChat's answer does not name the kind, but the keys of the
// data identify it. The keys are those of the npm packages miniprogram-api-typings@5.2.3 and
// minigame-api-typings@3.8.20, which have two spellings for a group's id.
func Kind(data json.RawMessage) string {
	best := kindOther
	for key := range members(data) {
		best = min(best, kindOfKey(key))
	}
	return kindRank[best]
}

// kindOfKey returns the index in kindRank of the kind that a key identifies.
func kindOfKey(key []byte) int {
	switch string(key) {
	case "stepInfoList":
		return 0
	case "phoneNumber", "purePhoneNumber":
		return 1
	case "open_single_roomid", "group_openid", "chat_type":
		return 2
	case "opengid", "openGId":
		return 3
	case "nickName", "avatarUrl":
		return 4
	default:
		return kindOther
	}
}

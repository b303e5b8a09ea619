package tasks

import (
	"encoding/json"
	"fmt"
	"time"
)

// OpenData is the `data` of a resolved record in typed form. One struct holds every kind of
// data, because only the fields tell the kinds apart. Fields of other kinds stay zero. The
// fields are those of WeChat's front-end calls (npm miniprogram-api-typings@5.2.3 and the pages
// of the calls). WeChat may add fields but does not change existing ones; Raw holds all fields:
// https://developers.weixin.qq.com/miniprogram/dev/framework/open-ability/signature.html.
type OpenData struct {
	WeRun
	Phone
	User
	Group
	Watermark Watermark `json:"watermark"`

	Raw json.RawMessage `json:"-"` // the complete JSON, as WeChat wrote it; numbers may exceed 2^53
}

// WeRun is the data of wx.getWeRunData, record kind werun.
type WeRun struct {
	// Steps has one element per day for at most the last 31 days, the oldest first.
	Steps []Step `json:"stepInfoList"`
}

// Step is the step count of one day.
type Step struct {
	Timestamp int64 `json:"timestamp"` // 00:00 of the day in Beijing, in Unix seconds
	Step      int64 `json:"step"`
}

// Day returns 00:00 of the day in Beijing.
func (s Step) Day() time.Time { return time.Unix(s.Timestamp, 0).In(beijing) }

var beijing = time.FixedZone("Beijing", 8*60*60)

// Phone is the data of the getPhoneNumber button, record kind phone.
type Phone struct {
	PhoneNumber     string `json:"phoneNumber"`     // with the country code unless the code is 86
	PurePhoneNumber string `json:"purePhoneNumber"` // without the country code
	CountryCode     string `json:"countryCode"`     // such as "86"
}

// User is the data of wx.getUserInfo and wx.getUserProfile, record kind user. WeChat anonymizes
// the data of wx.getUserInfo for mini program versions since 2021-04-28, and that of
// wx.getUserProfile for versions since 2022-11-08.
type User struct {
	OpenID    string `json:"openId"`
	UnionID   string `json:"unionId"`
	NickName  string `json:"nickName"`
	AvatarURL string `json:"avatarUrl"`
	Gender    int    `json:"gender"`
	Country   string `json:"country"`
	Province  string `json:"province"`
	City      string `json:"city"`
	Language  string `json:"language"`
}

// Group is the data of wx.getGroupEnterInfo, wx.getShareInfo and wx.getChatToolInfo, record
// kinds group and chat_tool.
type Group struct {
	OpenGID          string `json:"opengid"` // openGId in the data of wx.getShareInfo; both are read
	OpenSingleRoomID string `json:"open_single_roomid"`
	GroupOpenID      string `json:"group_openid"`
	ChatType         int    `json:"chat_type"`
}

// Watermark names the app that the data belongs to and the time it was obtained. The worker has
// verified the appid.
type Watermark struct {
	AppID     string `json:"appid"`
	Timestamp int64  `json:"timestamp"` // Unix seconds
}

// Time returns the time of the watermark.
func (w Watermark) Time() time.Time { return time.Unix(w.Timestamp, 0) }

// ParseOpenData parses the `data` of a resolved record. Its error contains no part of the data.
func ParseOpenData(data json.RawMessage) (OpenData, error) {
	d := OpenData{Raw: data}
	// encoding/json matches names case-insensitively, so openGId and opengid set the same field.
	if err := json.Unmarshal(data, &d); err != nil {
		return OpenData{}, fmt.Errorf("reading open data: %s", jsonFault(err))
	}
	return d, nil
}

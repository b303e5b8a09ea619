package tasks

import (
	"encoding/json"
	"fmt"
	"time"
)

// OpenData is the `data` of a resolved record in typed form. One struct holds every kind, since WeChat tells the kind
// by the fields alone; those of other kinds stay zero. Fields are those of WeChat's front-end calls
// (npm miniprogram-api-typings@5.2.3 and their pages). WeChat adds fields and changes none, so Raw has what is not here:
// https://developers.weixin.qq.com/miniprogram/dev/framework/open-ability/signature.html.
type OpenData struct {
	WeRun
	Phone
	User
	Group
	Watermark Watermark `json:"watermark"`

	Raw json.RawMessage `json:"-"` // all of it, as WeChat wrote it; numbers may exceed 2^53
}

// WeRun is the data of wx.getWeRunData, record kind werun.
type WeRun struct {
	// Steps are those of the last 31 days at most, the oldest first.
	Steps []Step `json:"stepInfoList"`
}

// Step is one day.
type Step struct {
	Timestamp int64 `json:"timestamp"` // 00:00 of the day in Beijing, in Unix seconds
	Step      int64 `json:"step"`
}

// Day is 00:00 of the day in Beijing.
func (s Step) Day() time.Time { return time.Unix(s.Timestamp, 0).In(beijing) }

var beijing = time.FixedZone("Beijing", 8*60*60)

// Phone is the data of the getPhoneNumber button, record kind phone.
type Phone struct {
	PhoneNumber     string `json:"phoneNumber"`     // with the country code if that is not 86
	PurePhoneNumber string `json:"purePhoneNumber"` // without it
	CountryCode     string `json:"countryCode"`     // such as "86"
}

// User is the data of wx.getUserInfo and wx.getUserProfile, record kind user. WeChat has made the former anonymous for
// versions since 2021-04-28, the latter since 2022-11-08.
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

// Group is the data of wx.getGroupEnterInfo, wx.getShareInfo and wx.getChatToolInfo, record kinds group and chat_tool.
type Group struct {
	OpenGID          string `json:"opengid"` // wx.getShareInfo spells it openGId; both are read
	OpenSingleRoomID string `json:"open_single_roomid"`
	GroupOpenID      string `json:"group_openid"`
	ChatType         int    `json:"chat_type"`
}

// Watermark says whose data it is and when it was obtained. The worker has checked the appid.
type Watermark struct {
	AppID     string `json:"appid"`
	Timestamp int64  `json:"timestamp"` // Unix seconds
}

// Time is the moment of the watermark.
func (w Watermark) Time() time.Time { return time.Unix(w.Timestamp, 0) }

// ParseOpenData reads the `data` of a resolved record. Its error repeats nothing of the data.
func ParseOpenData(data json.RawMessage) (OpenData, error) {
	d := OpenData{Raw: data}
	// encoding/json matches names without regard to case, so openGId and opengid are one.
	if err := json.Unmarshal(data, &d); err != nil {
		return OpenData{}, fmt.Errorf("reading open data: %s", jsonFault(err))
	}
	return d, nil
}

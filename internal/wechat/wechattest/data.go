package wechattest

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
)

// kind numbers the front-end calls that return a cloudID. Each kind has its own form of data.
type kind uint8

const (
	kindWeRun kind = iota
	kindPhone
	kindGroup
	kindUser
	kindChatTool
	numKinds
)

// String returns the kind's name in a record.
func (k kind) String() string {
	return [numKinds]string{"werun", "phone", "group", "user", "chat_tool"}[k]
}

// kindOf cycles the cloudIDs of a user through the kinds. The first kind depends on the user.
func kindOf(user uint64, n uint32) kind {
	return kind((user%uint64(numKinds) + uint64(n)) % uint64(numKinds))
}

// stepDays is the number of days in the data of a werun cloudID. WeChat sends up to 31.
const stepDays = 5

// appendData appends the open data of a cloudID in WeChat's format: without whitespace, with
// escaped slashes in URLs, and with the watermark last. The fields are those of npm
// miniprogram-api-typings@5.2.3 and of captured answers. Since November 2022 WeChat has returned
// this nickname and these empty places for every user.
func appendData(b []byte, f facts, seed uint64, watermark string) []byte {
	noise := mix(seed ^ uint64(f.user)<<32 ^ uint64(f.n) ^ uint64(f.kind)<<60)
	switch f.kind {
	case kindPhone:
		number := 13_000_000_000 + noise%1_000_000_000
		b = append(b, `{"phoneNumber":"`...)
		b = strconv.AppendUint(b, number, 10)
		b = append(b, `","purePhoneNumber":"`...)
		b = strconv.AppendUint(b, number, 10)
		b = append(b, `","countryCode":"86"`...)
	case kindGroup:
		b = append(b, `{"opengid":"tG`...)
		b = appendHex(b, noise)
		b = append(b, '"')
	case kindUser:
		b = append(b, `{"nickName":"微信用户","gender":0,"language":"zh_CN","city":"","province":"","country":"",`...)
		b = append(b, `"avatarUrl":"https:\/\/thirdwx.qlogo.cn\/mmopen\/vi_32\/`...)
		b = appendHex(b, noise)
		b = append(b, `\/132"`...)
	case kindChatTool:
		b = append(b, `{"opengid":"tG`...)
		b = appendHex(b, noise)
		b = append(b, `","group_openid":"oG`...)
		b = appendHex(b, mix(noise))
		// WeChat adds fields over time, and its numbers may exceed 2^53: its own SDK reads them
		// with JSONBigInt.
		b = append(b, `","chat_type":3,"roomSeq":`...)
		b = strconv.AppendUint(b, 1<<53+1+noise>>11&^1, 10)
	default:
		b = appendSteps(b, f.issuedMs/1000, noise)
	}
	b = append(b, `,"watermark":{"timestamp":`...)
	b = strconv.AppendInt(b, f.issuedMs/1000, 10)
	b = append(b, `,"appid":"`...)
	b = append(b, watermark...)
	return append(b, `"}}`...)
}

// appendSteps appends the step list up to the day of obtained. Each day starts at 00:00 in
// Beijing.
func appendSteps(b []byte, obtained int64, noise uint64) []byte {
	const day, beijing = 24 * 3600, 8 * 3600
	today := obtained - (obtained+beijing)%day
	b = append(b, `{"stepInfoList":[`...)
	for i := range int64(stepDays) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"timestamp":`...)
		b = strconv.AppendInt(b, today-(stepDays-1-i)*day, 10)
		b = append(b, `,"step":`...)
		b = strconv.AppendUint(b, noise>>(10*i)%30_000, 10)
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendHex appends v as 16 hexadecimal digits.
func appendHex(b []byte, v uint64) []byte {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], v)
	return hex.AppendEncode(b, raw[:])
}

// foreignWatermark is the appid in the data of a cloudID with the watermark fault.
const foreignWatermark = "wxffffffffffffffff"

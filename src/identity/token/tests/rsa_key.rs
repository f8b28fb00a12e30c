//! An RSA key pair for the tests, and for nothing else: it is public, and guards nothing.
//!
//! `ring` makes none itself. This one is from
//! `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform DER |
//! openssl pkcs8 -topk8 -nocrypt -inform DER -outform DER | base64 -w 92`.

/// PKCS #8 in base64.
pub(super) const TEST_KEY_THAT_GUARDS_NOTHING: &str = "\
    MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDFkCG5EVerqWi4GfXjQhQxwbyKh84my9GXP+gpkzFV\
    suD7LQq8Vl1CQ3i4NUytwLzDIxr5BSt9sk7I7igzF1kL5RBMA0TSf+Gj4BidVBTCZWulK4EisHt/psyf51e0EsfcPVvJ\
    iGP175F8dzKbp8Q4z2tCKlMpPyDXisT+JrfLhKskdrDvBTSpEhgX/HfwGr67TmhwPl561bgoDtCZPxzJ0VkOKVoxKKlA\
    jL7wFrv/ZdVbY0uM2K5h2pm1iMERngc/u2/aXzYIITgd0rBA8v+3J6Ry28PMZkHCpX/bTXFoepK6Lgi61XHTRiagAN4H\
    lRhvWab+4BDh1QK9hbkkGlhRAgMBAAECggEAODgrOIhkW9+iAp20mJ6Rs5UPi5ZYxjaC5pkTfl06EUqNdjybjPvAnx4n\
    KLhWIS2zKY6AWvOrLCJFBC2td9iBiP5+tDrL52Dnu2QGbSLjo2wMBV0Lau0wv6MeILTLAt3DTPuS9pce5vns+y/KUXwc\
    vRPdUF9N+fNSa7O8Ghy3eay/grUif6ras+Rm6sYrbqkGo3QsXP6WSL198pwj29iw8pfX+ozMib1veExHdbyML7QeiEFh\
    DcmVrAUnubG+uZ2cf0/MBlhglmERcbjh1EQWEZsc6Mqh862uze0RZR49BTY9/cCJf58fAPN0jMfjHla8NPXz6CNGIjCV\
    BNQQNb3GdwKBgQDsz5SjidBaBc6IzXBlhJQw8js6iE8crqtghXhd9qw4W1nva9eOhI1HeamFqENGYv8YKLJTFRTFhDGD\
    w6fB6V71LAaaHfglY6aTsRS0FBG8jYsiucREOJZhRm0WmEPB/e8xwMCMifXMP2yWYk9+LFJWaFHIc/wNXNilk2sO2jXk\
    RwKBgQDVkmQsecyA/aPz5K94h6xXBbBMz1DpzbS0/Yw/xuwGIk/7KU5emYUidVUljgZ7wBLIM6yKFmQ7zyySigkExD3A\
    U9IcGuEgKEFZPQ6mibdXt0jHfAbtN4Dpv9kEuvRL+qjgCZx/EISE28QE4BOCbnTYxvHI1sxKOG2IVjpqPdcipwKBgQDE\
    /rGRkbVnDemP2AamDLISPY+T04ysOYmLE7zbvbXqc+POzZFVl2LHkKe67gx44yV9/WzKvIC5Bo0CJaLKJs69eVBMqJ2i\
    zNDnj6m/W+qdRcn2qz5f2gsPBLz+zM+g8xMl+kizIJj+vcwhFcs3FLux8boG3KVSoGgA5S9r/Y5TRQKBgEIlpxUHXEmP\
    RVpit94y1zPUtTf09fCUH6X26ZtPNwbnVbJKptUx40Q65vZMuMFXSfnr10KlkMHddsakLgrl5OJOk8LUqGlXTnYfLQxz\
    lu95+vad+V87U5gSLVsDtGpb5jYNhATuzrx/fISuChzZrSL+6x/zNy69r18MpecF5D39AoGAJz6efLhbSZiKdaGTagTy\
    N3EDYF9ZuAp/dEDbEidOVqVpNf6d0ZRg4WTBNM2UVbH8czMZLNTTuaAw0TGavMlA9Y1wanGRS83SaLiiT81Pidjz9DbV\
    BkWreaX2PJ2MH6lnpLsP8AAIwI5W3EQxtHVxJ8eUv/988jMgxn59E6BUeDk=\
    ";

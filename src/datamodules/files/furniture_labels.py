"""Which models of Debian's package `sweethome3d-furniture` 1.8 belong to which class, chosen by name and by eye.

Of the package's 820 models these are the ones whose name says plainly what they are and whose shape agrees, in classes of
seven or more. They are not part of this package; their authors and licences:

- Scopia: Scopia Visual Interfaces Systems, s.l. (http://www.scopia.es) and Emmanuel Puybaret / eTeks, CC-BY 3.0.
- KatorLegaz: Andrew Kator and Jennifer Legaz, CC-BY 3.0 United States.
- Reallusion: Reallusion (http://www.reallusion.com), CC-BY 3.0 United States.
- BlendSwap-CC-BY: contributors to Blend Swap, each named in the library's catalogue, CC-BY 3.0.
- BlendSwap-CC-0: contributors to Blend Swap and Emmanuel Puybaret / eTeks, CC0.
"""

MODELS: dict[str, dict[str, str]] = {
    "animal": {
        "BlendSwap-CC-0": "horse2",
        "BlendSwap-CC-BY": "bulldog horse siameseCat",
        "Scopia": "cat dog rabbit",
    },
    "armchair": {
        "BlendSwap-CC-0": "armchair armchair2 modernArmchair winchesterArmchair",
        "BlendSwap-CC-BY": "armChair2 armchair1 fotel",
        "KatorLegaz": "mid-century-chair",
        "Scopia": "armchair armchair1 armchair2 armchair3 modern_armchair rattanArmchair",
    },
    "bed": {
        "BlendSwap-CC-0": "bed1 bed2 bed3 bedWithTexture",
        "BlendSwap-CC-BY": "juniorBed lettoCloud",
        "Scopia": "bed1 captains-bed children_bed day_bed_frame hospital-bed iron_bed",
    },
    "bookcase": {
        "BlendSwap-CC-0": "bookcase shelves verticalShelves",
        "BlendSwap-CC-BY": "bookcase",
        "KatorLegaz": "full-bookcase utility-shelving",
        "Scopia": "kids_shelves",
    },
    "bottle": {
        "BlendSwap-CC-0": "flacon mamadeira yogurtBottle",
        "BlendSwap-CC-BY": "beer_bottle",
        "KatorLegaz": "red-wine-bottle-01 spray-bottle",
        "Scopia": "com_bath com_bath2_jabon_pijo medicoscopia_bottle medicoscopia_bottle2 wine_bottle",
    },
    "cabinet": {
        "BlendSwap-CC-0": (
            "drawersCabinet glassDoorCabinet highCabinet lowerCabinet lowerCornerCabinet sinkCabinet "
            "smallUpperCabinet upperCabinet upperCornerCabinet"
        ),
        "BlendSwap-CC-BY": (
            "kitchenDrawersCabinet kitchenGlassDoorCabinet kitchenLowerCabinet "
            "kitchenSmallLowerCabinet kitchenSmallUpperCabinet kitchenUpperCabinet"
        ),
        "KatorLegaz": "filing-cabinet",
    },
    "car": {
        "BlendSwap-CC-BY": "fordFocus",
        "KatorLegaz": ("VW-new-beetle concept-sedan-01v1 concept-sedan-01v2 concept-sedan-02 concept-sedan-02-sport"),
        "Scopia": "chevrolet peugeot-308 renault-scenic seat_leon smart-car suv",
    },
    "chair": {
        "BlendSwap-CC-0": (
            "antiqueChair chair chair2 chairWithCushion designChair oakChair osakaChair plasticChair sillaBlanca thonet"
        ),
        "BlendSwap-CC-BY": (
            "cafe_set_mota_chair cafe_set_tonon_chair chair3 chair4 chairWithCushion childChair "
            "ella_chair_f foldingChair kitchenChair leaf_chair plaidChair"
        ),
        "KatorLegaz": "cafe-chair dining-chair office-chair",
        "Scopia": (
            "chair chair3 chair4 children_chair kids_desk_chair office_chair plastic_chair "
            "tubular_chair white_kitchen_chair"
        ),
    },
    "cup": {
        "BlendSwap-CC-0": "beerGlass caffe_final plasticCup",
        "BlendSwap-CC-BY": "coffee_cup",
        "KatorLegaz": "12-oz-glass coffee-mug highball-glass",
        "Scopia": "cup",
    },
    "desk": {
        "BlendSwap-CC-0": "desk lbDesk",
        "BlendSwap-CC-BY": "biurko3 officeTable simpleDesk",
        "KatorLegaz": "custom-desk",
        "Scopia": "kids_desk_table kids_wooden_desk",
    },
    "door": {
        "KatorLegaz": (
            "exterior-door-01 exterior-door-02 exterior-door-03 exterior-door-05 exterior-door-07 screen-door"
        ),
        "Scopia": "door double_door double_door_2 double_door_with_little_part glassDoor2 glass_door puerta",
    },
    "lamp": {
        "BlendSwap-CC-0": "desklamp",
        "BlendSwap-CC-BY": "lamp",
        "KatorLegaz": "pedestal-vase-lamp",
        "Scopia": (
            "desk_lamp1 desk_lamp2 little_lamp1 little_lamp2 little_lamp3 living_lamp livingroom_lamp1 table_lamp"
        ),
    },
    "person": {
        "KatorLegaz": "female-01-casual-clothing male-01-suit",
        "Reallusion": (
            "boyStanding female01 female02 female03 girlStanding holdingFemale01 holdingFemale02 "
            "holdingFemale03 holdingMale01 male01 male02 male03"
        ),
        "Scopia": "mannequinBrunette mannequinMale",
    },
    "plant": {
        "BlendSwap-CC-0": "augalas decorativePlant littlePlant plant",
        "BlendSwap-CC-BY": (
            "decorativePlant luckyBamboo mediumIndoorPlant spatifilum spider_plant succulentPlant yuccaPlant"
        ),
        "Scopia": "bonsai-tree ficus maceta",
    },
    "sitting_person": {
        "Reallusion": (
            "boySitting girlSittingGround girlSittingTable sitFemale01 sitFemale02 sitFemale03 "
            "sitMale01 sitMale02 sitMale03"
        ),
    },
    "sofa": {
        "BlendSwap-CC-0": "L_shaped_sofa couch couch2 sofa sofa2 winchesterSofa",
        "BlendSwap-CC-BY": "cornerSofa couch3 sofa2 sofa3",
        "KatorLegaz": "futon-couch mid-century-bench-sofa mid-century-sofa",
        "Scopia": (
            "beige_sofa beige_sofa_2seats burlap_sofa clear_sofa leather_sofa rattanSofa simple_sofa sofa_white_beige"
        ),
    },
    "stool": {
        "BlendSwap-CC-0": "silla2 stool stool2",
        "BlendSwap-CC-BY": "green_stool",
        "KatorLegaz": "bar-stool",
        "Scopia": "bar_chair kitchen_stool",
    },
    "table": {
        "BlendSwap-CC-0": "oakTable table",
        "BlendSwap-CC-BY": "cafe_set_mota_table cafe_set_tonon_table coffeeTable table",
        "KatorLegaz": "cafe-table folding-table glass-dining-table",
        "Scopia": (
            "bar_table black_table children_table coffee-table2 coffee_table desk_table ext_table "
            "glass_table_office living_room_table metal_glass_table round-table saloon_table "
            "table-on-trestles table-with-leaning-feet table3 table4 table_wood_and_iron "
            "white_kitchen_table wooden_office_alder_table wooden_office_pear_table "
            "wooden_office_pear_table_rect wooden_office_teak_table wooden_table_office"
        ),
    },
    "tree": {
        "Scopia": (
            "acacia bluePineSnow coconutTree coconutTreeBended copperBeech cypress ficusTree "
            "japaneseMaple palm peachBlossom pine pineSnow poplar sabalPalmeto sycamoreMaple"
        ),
    },
    "window": {
        "KatorLegaz": "window-01 window-08 window-08-02",
        "Scopia": (
            "turn-window window_2x1_medium_with_large_pane window_2x1_with_sliders window_2x3 "
            "window_2x3_arched window_2x3_regular window_2x4 window_2x4_arched window_2x6 window_3x1 "
            "window_4x1 window_4x3 window_4x3_arched window_4x5"
        ),
    },
}
"""Identifiers by class and library (the .sh3f file they are in), separated by spaces."""
